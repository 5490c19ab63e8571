/* talk SOCKET MESSAGE...: says each of them to a control socket, after what the
 * protocol wants first, and prints the answers. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static char answer[65536];

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	FILE *in = fdopen(fd, "r");

	if (argc < 2 || !in)
		return 64;
	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror(argv[1]);
		return 1;
	}
	argv[1] = "{\"execute\": \"qmp_capabilities\"}";
	for (int i = 0; i < argc; i++) {
		if (i && (dprintf(fd, "%s\n", argv[i]) < 0))
			return 1;
		if (!fgets(answer, sizeof(answer), in))
			return 1;
		if (i > 1)
			fputs(answer, stdout);
	}
	return 0;
}
