/*
 * `kvist img info`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/img.h"
#include "devices/block/allowed.h"
#include "devices/block/image_info.h"
#include "util/checked.h"
#include "util/json.h"
#include "util/log.h"

#define CHAIN_MAX 200

/* One image of the chain. */
struct layer {
	char *path;
	struct stat st;
	struct image_info info;
	char *backing_path; /* where its backing file is; NULL: it has none */
};

static const char *format_name(const struct layer *layer)
{
	return layer->info.format == BLOCK_RAW ? "raw" : "qcow2";
}

static bool has(const struct layer *layer, uint64_t incompatible)
{
	return layer->info.header.incompatible & incompatible;
}

/* "1.27 MiB": three digits that count. */
static const char *size_text(char text[32], uint64_t bytes)
{
	static const char *const units[] = { "",   "Ki", "Mi", "Gi",
					     "Ti", "Pi", "Ei" };
	double n = (double)bytes;
	int unit = 0;

	/* From 1000 on the next unit is taken: no fourth digit comes. */
	for (; n * 1.024 >= 1024; unit++)
		n /= 1024;
	snprintf(text, 32, "%.3g %sB", n, units[unit]);
	return text;
}

static void print_snapshot(const struct image_snapshot *s)
{
	char size[32], date[32], clock[40], icount[24] = "";
	uint64_t seconds = s->vm_clock_nsec / 1000000000;
	time_t when = s->date_sec;
	struct tm tm;

	localtime_r(&when, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(clock, sizeof(clock), "%02d:%02d:%02d.%03d",
		 (int)(seconds / 3600), (int)(seconds / 60 % 60),
		 (int)(seconds % 60), (int)(s->vm_clock_nsec / 1000000 % 1000));
	if (s->icount != UINT64_MAX)
		snprintf(icount, sizeof(icount), "%llu",
			 (unsigned long long)s->icount);
	printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name,
	       size_text(size, s->vm_state_size), date, clock, icount);
}

void img_print_snapshots(const struct image_info *info)
{
	if (!info->nr_snapshots)
		return;
	printf("Snapshot list:\n%-9s %-16s %8s%20s%13s%11s\n", "ID", "TAG",
	       "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
	for (uint32_t i = 0; i < info->nr_snapshots; i++)
		print_snapshot(&info->snapshots[i]);
}

static void print_bitmaps(const struct image_info *info)
{
	printf("    bitmaps:\n");
	for (uint32_t i = 0; i < info->nr_bitmaps; i++) {
		const struct image_bitmap *b = &info->bitmaps[i];
		int n = 0;

		printf("        [%u]:\n            flags:\n", i);
		if (b->flags & QCOW2_BITMAP_IN_USE)
			printf("                [%d]: in-use\n", n++);
		if (b->flags & QCOW2_BITMAP_AUTO)
			printf("                [%d]: auto\n", n++);
		printf("            name: %s\n            granularity: %llu\n",
		       b->name, (unsigned long long)b->granularity);
	}
}

static void print_specific(const struct layer *layer)
{
	const struct qcow2_header *h = &layer->info.header;
	bool v3 = h->version == 3;

	printf("Format specific information:\n    compat: %s\n"
	       "    compression type: %s\n",
	       v3 ? "1.1" : "0.10", h->compression ? "zstd" : "zlib");
	if (v3)
		printf("    lazy refcounts: %s\n",
		       h->compatible & 1 ? "true" : "false");
	if (layer->info.nr_bitmaps)
		print_bitmaps(&layer->info);
	printf("    refcount bits: %u\n", 1u << h->refcount_order);
	if (layer->info.has_luks)
		img_print_luks(&layer->info.luks);
	if (*h->data_file && v3)
		printf("    data file: %s\n", h->data_file);
	if (has(layer, QCOW2_DATA_FILE))
		printf("    data file raw: %s\n",
		       h->autoclear & QCOW2_AUTO_RAW ? "true" : "false");
	if (v3)
		printf("    corrupt: %s\n    extended l2: %s\n",
		       has(layer, QCOW2_CORRUPT) ? "true" : "false",
		       has(layer, QCOW2_EXTENDED_L2) ? "true" : "false");
}

void img_print_specific(const struct image_info *info)
{
	const struct layer layer = { .info = *info };

	if (info->format == BLOCK_QCOW2)
		print_specific(&layer);
}

static void print_human(const struct layer *layer)
{
	const struct image_info *info = &layer->info;
	const struct qcow2_header *h = &info->header;
	char text[32];

	printf("image: %s\nfile format: %s\n", layer->path, format_name(layer));
	printf("virtual size: %s (%llu bytes)\n", size_text(text, info->size),
	       (unsigned long long)info->size);
	printf("disk size: %s\n",
	       size_text(text, layer->st.st_blocks * 512ull));
	if (info->format == BLOCK_RAW)
		return;
	if (h->crypt_method)
		printf("encrypted: yes\n");
	printf("cluster_size: %u\n", 1u << h->cluster_bits);
	if (has(layer, QCOW2_DIRTY))
		printf("cleanly shut down: no\n");
	if (layer->backing_path) {
		printf("backing file: %s", h->backing);
		if (strcmp(h->backing, layer->backing_path))
			printf(" (actual path: %s)", layer->backing_path);
		putchar('\n');
		if (*h->backing_format)
			printf("backing file format: %s\n", h->backing_format);
	}
	img_print_snapshots(info);
	print_specific(layer);
}

static void json_snapshots(struct json *json, const struct image_info *info)
{
	json_array(json, "snapshots");
	for (uint32_t i = 0; i < info->nr_snapshots; i++) {
		const struct image_snapshot *s = &info->snapshots[i];

		json_object(json, NULL);
		json_string(json, "id", s->id);
		json_string(json, "name", s->name);
		json_number(json, "vm-state-size", s->vm_state_size);
		json_number(json, "date-sec", s->date_sec);
		json_number(json, "date-nsec", s->date_nsec);
		json_number(json, "vm-clock-sec",
			    s->vm_clock_nsec / 1000000000);
		json_number(json, "vm-clock-nsec",
			    s->vm_clock_nsec % 1000000000);
		if (s->icount != UINT64_MAX)
			json_number(json, "icount", s->icount);
		json_end(json);
	}
	json_end(json);
}

static void json_bitmaps(struct json *json, const struct image_info *info)
{
	json_array(json, "bitmaps");
	for (uint32_t i = 0; i < info->nr_bitmaps; i++) {
		const struct image_bitmap *b = &info->bitmaps[i];

		json_object(json, NULL);
		json_array(json, "flags");
		if (b->flags & QCOW2_BITMAP_IN_USE)
			json_string(json, NULL, "in-use");
		if (b->flags & QCOW2_BITMAP_AUTO)
			json_string(json, NULL, "auto");
		json_end(json);
		json_string(json, "name", b->name);
		json_number(json, "granularity", b->granularity);
		json_end(json);
	}
	json_end(json);
}

static void json_specific(struct json *json, const struct layer *layer)
{
	const struct qcow2_header *h = &layer->info.header;
	bool v3 = h->version == 3;

	json_object(json, "format-specific");
	json_string(json, "type", "qcow2");
	json_object(json, "data");
	json_string(json, "compat", v3 ? "1.1" : "0.10");
	json_string(json, "compression-type", h->compression ? "zstd" : "zlib");
	if (v3)
		json_bool(json, "lazy-refcounts", h->compatible & 1);
	if (layer->info.nr_bitmaps)
		json_bitmaps(json, &layer->info);
	json_number(json, "refcount-bits", 1u << h->refcount_order);
	if (layer->info.has_luks)
		img_json_luks(json, &layer->info.luks);
	if (*h->data_file && v3)
		json_string(json, "data-file", h->data_file);
	if (has(layer, QCOW2_DATA_FILE))
		json_bool(json, "data-file-raw", h->autoclear & QCOW2_AUTO_RAW);
	if (v3) {
		json_bool(json, "corrupt", has(layer, QCOW2_CORRUPT));
		json_bool(json, "extended-l2", has(layer, QCOW2_EXTENDED_L2));
	}
	json_end(json);
	json_end(json);
}

static void print_json(struct json *json, const struct layer *layer)
{
	const struct image_info *info = &layer->info;
	const struct qcow2_header *h = &info->header;

	json_object(json, NULL);
	if (info->nr_snapshots)
		json_snapshots(json, info);
	if (layer->backing_path) {
		if (*h->backing_format)
			json_string(json, "backing-filename-format",
				    h->backing_format);
		json_string(json, "backing-filename", h->backing);
		json_string(json, "full-backing-filename", layer->backing_path);
	}
	json_number(json, "virtual-size", info->size);
	json_string(json, "filename", layer->path);
	if (info->format == BLOCK_QCOW2)
		json_number(json, "cluster-size", 1u << h->cluster_bits);
	json_string(json, "format", format_name(layer));
	json_number(json, "actual-size", layer->st.st_blocks * 512ull);
	if (info->format == BLOCK_QCOW2)
		json_specific(json, layer);
	if (info->format == BLOCK_QCOW2 && h->crypt_method)
		json_bool(json, "encrypted", true);
	json_bool(json, "dirty-flag", has(layer, QCOW2_DIRTY));
	json_end(json);
}

/* Reads one image; @format NULL or empty: as it looks. Owns @path. */
static int read_layer(struct layer *layer, char *path, const char *format,
		      bool share, const struct block_slice *slice)
{
	enum block_format kind;
	struct host_file *file;
	int err;

	memset(layer, 0, sizeof(*layer));
	layer->path = path;
	if (!path)
		return -ENOMEM;
	if (format && *format && img_format(path, format, &kind))
		return -EINVAL;
	err = img_open_file(path, false, share, &file);
	if (err)
		return err;
	err = stat(path, &layer->st) ? -errno : 0;
	if (!err && (!format || !*format))
		err = image_probe(file, &kind);
	if (err) {
		log_err("%s: %s", path, strerror(-err));
		file->ops->close(file);
		return err;
	}
	err = image_info_read(file, path, kind, slice, &layer->info);
	if (!err && *layer->info.header.backing) {
		layer->backing_path =
			image_beside(path, layer->info.header.backing);
		err = layer->backing_path ? 0 : -ENOMEM;
	}
	return err;
}

static void free_layers(struct layer *layers, int count)
{
	for (int i = 0; i < count; i++) {
		image_info_fini(&layers[i].info);
		free(layers[i].path);
		free(layers[i].backing_path);
	}
	free(layers);
}

static bool in_chain(const struct layer *layers, int count)
{
	for (int i = 0; i < count; i++) {
		if (layers[i].st.st_dev == layers[count].st.st_dev &&
		    layers[i].st.st_ino == layers[count].st.st_ino)
			return true;
	}
	return false;
}

/* Reads the image and, for a @chain, all that lie below it. */
static int read_chain(struct layer *layers, int *count,
		      const struct block_options *options, const char *format,
		      bool chain)
{
	const struct block_slice *slice = &options->slice;
	char *next = strdup(options->path);

	for (*count = 0;;) {
		struct layer *layer = &layers[*count];
		int err = read_layer(layer, next, format, options->unlocked,
				     slice);

		if (!err && in_chain(layers, *count)) {
			log_err("Backing file '%s' creates an infinite loop.",
				next);
			err = -ELOOP;
		}
		++*count;
		if (err || !chain || !layer->backing_path)
			return err;
		if (*count == CHAIN_MAX) {
			log_err("%s: more than %d backing files", options->path,
				CHAIN_MAX);
			return -ELOOP;
		}
		format = layer->info.header.backing_format;
		next = strdup(layer->backing_path);
		slice = NULL;
	}
}

static void print_all(const struct layer *layers, int count, bool json,
		      bool chain)
{
	struct json writer;

	json_init(&writer, stdout);
	if (json && chain)
		json_array(&writer, NULL);
	for (int i = 0; i < count; i++) {
		if (json) {
			print_json(&writer, &layers[i]);
			continue;
		}
		if (i)
			putchar('\n');
		print_human(&layers[i]);
	}
	if (json && chain)
		json_end(&writer);
}

int img_info(int argc, char **argv)
{
	static const struct option names[] = { { "format", 1, 0, 'f' },
					       { "output", 1, 0, 'O' },
					       { "backing-chain", 0, 0, 'B' },
					       { 0 } };
	struct img_common common = { 0 };
	struct block_options options = { 0 };
	const char *format = NULL;
	bool json = false, chain = false;
	struct layer *layers;
	int option, count, err;

	while ((option = img_option(argc, argv, ":hf:U", names, &common)) >=
	       0) {
		if (option == '?' || option == 'h')
			return option == '?' ? IMG_ERROR : img_help();
		if (option == 'f')
			format = optarg;
		else if (option == 'B')
			chain = true;
		else if (option == 'U')
			options.unlocked = true;
		else if (img_output(optarg, &json))
			return IMG_ERROR;
	}
	if (optind != argc - 1)
		return img_usage("Expecting one image file name");
	if (img_source(&common, argv[optind], &options, &format) ||
	    (format && img_format(options.path, format, &options.format)))
		return IMG_ERROR;
	layers = calloc(CHAIN_MAX, sizeof(*layers));
	if (!layers) {
		log_err("%s: out of memory", options.path);
		return IMG_ERROR;
	}
	err = read_chain(layers, &count, &options, format, chain);
	if (!err)
		print_all(layers, count, json, chain);
	free_layers(layers, count);
	return err ? IMG_ERROR : 0;
}
