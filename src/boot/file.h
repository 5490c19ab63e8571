/*
 * The files of a boot: opened, checked to be regular, read with bounds.
 *
 * One thread at a time. Every failure has been logged with the file's noun and
 * path.
 */
#ifndef KVIST_BOOT_FILE_H
#define KVIST_BOOT_FILE_H

#include "boot/boot.h"

/* Opens @path, which must be a regular file that is not empty. 0; -EINVAL
 * when it is not; -errno of open(2). */
int boot_file_open(struct boot_file *file, const char *noun, const char *path);
void boot_file_close(struct boot_file *file);

/* Exactly @len bytes at @offset into @buf. -EINVAL when the file ends before
 * them: @what, such as "its program headers", is what would have been there.
 */
int boot_file_read(const struct boot_file *file, const char *what,
		   uint64_t offset, void *buf, uint64_t len);

/* The same for the kernel, without a system call where boot->head has it. */
int boot_kernel_read(const struct boot *boot, const char *what, uint64_t offset,
		     void *buf, uint64_t len);

#endif
