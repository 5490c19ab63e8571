/*
 * virtio-rng: buffers of any size are filled, with other bytes each time.
 */
#include "guests/lib/layout.h"
#include "guests/lib/lib.h"
#include "guests/lib/virtio.h"

#define BUFFER ((uint8_t *)BUFFERS)

static struct virtio dev;
static struct virtqueue vq;

static uint32_t fill(uint8_t *to, uint32_t size)
{
	struct vq_buffer buffer = { (uint64_t)to, size, true };
	uint32_t length;

	vq_add(&vq, &buffer, 1);
	vq_kick(&vq);
	CHECK(vq_take(&vq, NULL, &length), "random bytes come");
	CHECK(length >= 1 && length <= size, "how many random bytes came");
	return length;
}

int guest_main(void)
{
	static const uint32_t sizes[] = { 1, 7, 64, 4096, 65536 };
	uint8_t *a = BUFFER, *b = BUFFER + 0x20000;
	uint32_t n, m;

	CHECK(virtio_find(&dev, VIRTIO_RNG, 0), "there is a virtio-rng");
	CHECK(virtio_start(&dev, 0), "features are accepted");
	vq_init(&vq, &dev, 0, 0);
	virtio_driver_ok(&dev);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		n = fill(a, sizes[i]);
		m = fill(b, sizes[i]);
		if (n >= 16 && m >= 16)
			CHECK(memcmp(a, b, 16), "16 bytes differ each time");
	}
	memset(a, 0, 4096 + 1);
	n = fill(a, 4096);
	CHECK_EQ(a[n], 0, "the byte after those that came");
	for (uint32_t i = n, zeroes = 0; i--;) {
		zeroes += a[i] == 0;
		CHECK(zeroes < n / 8 + 8, "few of the bytes are 0");
	}
	print("rng: ok\n");
	return 0;
}
