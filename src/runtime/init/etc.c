/* etc.c - the files of /etc that tell a program its name and its name servers. They are written
 * into the writable layer before the overlay is mounted: no link of the image is ever walked, and
 * it costs no mount. A volume on one of these paths comes later and wins. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define HOSTS                                         \
	"127.0.0.1\tlocalhost\n"                      \
	"::1\tlocalhost ip6-localhost ip6-loopback\n" \
	"127.0.0.1\t%s\n"

/* What stands for /etc in the image: the entry of the topmost layer that has one, unless that is a
 * whiteout. False: nothing does. Looked at only, never entered. */
static bool find_etc(const struct init_prepare *p, struct stat *ret)
{
	for (unsigned i = 0; i < p->head.n_layers; i++) {
		if (fstatat(p->fds[GT_INIT_FD_LAYERS + i], "etc", ret, AT_SYMLINK_NOFOLLOW) == 0)
			return !(S_ISCHR(ret->st_mode) && ret->st_rdev == 0);
		if (errno != ENOENT)
			init_fail(GT_INIT_STEP_ETC, errno, 0);
	}
	return false;
}

/* The directory over the image's own of that name, with its mode and owner. False: the image has
 * something else there, which stays as it is. */
static bool cover_etc(const struct init_prepare *p, uint32_t id_base)
{
	struct stat st;

	if (!find_etc(p, &st))
		st = (struct stat){ .st_mode = S_IFDIR | 0755,
				    .st_uid = id_base,
				    .st_gid = id_base };
	if (!S_ISDIR(st.st_mode))
		return false;
	if (mkdir("up/etc", 0755) < 0 || chown("up/etc", st.st_uid, st.st_gid) < 0 ||
	    chmod("up/etc", st.st_mode & 07777) < 0)
		init_fail(GT_INIT_STEP_ETC, errno, 1);
	return true;
}

static void write_file(const char *path, const char *text, uint32_t id_base)
{
	size_t len = strlen(text);
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fchmod(fd, 0644) < 0 ||
	    fchown(fd, id_base, id_base) < 0)
		init_fail(GT_INIT_STEP_ETC, errno, 2);
	close(fd);
}

void init_etc(const char *hostname, const char *resolv, const struct init_prepare *p,
	      uint32_t id_base)
{
	char text[512];

	if (!cover_etc(p, id_base))
		return;
	write_file("up/etc/resolv.conf", resolv, id_base);
	snprintf(text, sizeof(text), HOSTS, hostname);
	write_file("up/etc/hosts", text, id_base);
	snprintf(text, sizeof(text), "%s\n", hostname);
	write_file("up/etc/hostname", text, id_base);
}
