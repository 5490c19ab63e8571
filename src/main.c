#include "kvm/vm.h"

int main(void)
{
	return 0;
}
