/*
 * `kvist img measure`.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/img_create.h"
#include "devices/block/image_measure.h"
#include "devices/block/qcow2_bitmap.h"
#include "util/checked.h"
#include "util/json.h"
#include "util/log.h"

struct measuring {
	struct block_options options;
	const char *format;
	char *snapshot; /* of the source, as -l says it */
	struct img_creation to;
	bool json, sized;
	struct block *disk;    /* NULL: an empty one */
	bool bitmaps;          /* the source can have some, ... */
	uint64_t bitmap_bytes; /* ... and what they take */
};

static void tell(const struct measuring *m, const struct image_measure *size)
{
	struct json json;

	if (!m->json) {
		printf("required size: %" PRIu64
		       "\nfully allocated size: %" PRIu64 "\n",
		       size->required, size->full);
		if (m->bitmaps)
			printf("bitmaps size: %" PRIu64 "\n", m->bitmap_bytes);
		return;
	}
	json_init(&json, stdout);
	json_object(&json, NULL);
	if (m->bitmaps)
		json_number(&json, "bitmaps", m->bitmap_bytes);
	json_number(&json, "required", size->required);
	json_number(&json, "fully-allocated", size->full);
	json_end(&json);
}

static int measure(struct measuring *m)
{
	uint64_t bytes = m->disk ? m->disk->size : m->to.shape.size;
	struct image_measure size;
	const char *wrong;
	int err;

	m->to.shape.size = align_up(bytes, BLOCK_SECTOR);
	size.required = size.full = m->to.shape.size;
	if (m->to.format == BLOCK_RAW) {
		tell(m, &size);
		return 0;
	}
	wrong = qcow2_shape_wrong(&m->to.shape);
	if (wrong) {
		log_err("%s", wrong);
		return -EINVAL;
	}
	m->bitmaps = m->to.shape.version == 3 && m->disk &&
		     !qcow2_has_bitmaps(m->disk);
	err = image_measure(&m->to.shape, m->to.encryption || m->to.key_file,
			    m->disk, &size);
	if (!err && m->bitmaps)
		err = img_measure_bitmaps(m->disk, m->to.shape.cluster_size,
					  &m->bitmap_bytes);
	if (err)
		log_err("%s: %s", m->options.path, strerror(-err));
	else
		tell(m, &size);
	return err;
}

static int run(struct measuring *m)
{
	int err = 0;

	if (m->options.path && img_open(&m->options, m->format, &m->disk))
		return IMG_ERROR;
	if (m->disk && m->snapshot)
		err = img_snapshot_view(m->disk, m->options.path, m->snapshot);
	if (!err)
		err = measure(m);
	if (m->disk)
		block_close(m->disk);
	return err ? IMG_ERROR : 0;
}

static int take(struct measuring *m, int option, char *value)
{
	switch (option) {
	case 'f':
		m->format = value;
		return 0;
	case 'l':
		m->snapshot = value;
		return 0;
	case 'U':
		m->options.unlocked = true;
		return 0;
	case 'D':
		m->options.backing_dir = value;
		return 0;
	case 'J':
		return img_output(value, &m->json);
	case 'o':
		return img_set_fields(&m->to, value);
	default: /* --size */
		m->sized = true;
		return img_take_size(value, "image size", INT64_MAX,
				     &m->to.shape.size);
	}
}

int img_measure(int argc, char **argv)
{
	static const struct option names[] = { { "output", 1, 0, 'J' },
					       { "size", 1, 0, 's' },
					       { "backing-dir", 1, 0, 'D' },
					       { 0 } };
	struct measuring m = { .options.read_only = true,
			       .to = { .path = "measure",
				       .format = BLOCK_RAW,
				       .shape = qcow2_shape_default } };
	struct img_common common = { 0 };
	int option;

	while ((option = img_option(argc, argv, ":hf:O:o:l:U", names,
				    &common)) >= 0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'O' ? img_format("measure", optarg, &m.to.format)
				  : take(&m, option, optarg))
			return IMG_ERROR;
	}
	if (optind < argc - 1)
		return img_usage("At most one filename argument is allowed.");
	if (optind < argc &&
	    img_source(&common, argv[optind], &m.options, &m.format))
		return IMG_ERROR;
	if (!m.options.path == !m.sized) {
		log_err("%s", m.sized ? "--size N cannot be used together with "
					"a filename."
				      : "Either --size N or one filename must "
					"be specified.");
		return IMG_ERROR;
	}
	if (m.sized && (m.format || m.snapshot || common.image_opts)) {
		log_err("-f, -l and --image-opts require a filename argument.");
		return IMG_ERROR;
	}
	if (m.to.help) {
		log_err("Invalid parameter 'help'; create -o help lists them");
		return IMG_ERROR;
	}
	return run(&m);
}
