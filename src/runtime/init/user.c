/* user.c - names of users and groups, by /etc/passwd and /etc/group of the image. Both are hostile:
 * links stay below the root, only regular files are read, no line and no file is read past a bound,
 * and nothing is allocated. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define LINE_SIZE 4096
#define FILE_MAX  (1u << 20)
#define ID_MAX    65535u
#define NAME_SIZE 64
#define TRIES_MAX 1000

struct reader {
	int fd;
	size_t at, len, total;
	char buf[LINE_SIZE], line[LINE_SIZE];
};

/* One file is read at a time; not on the stack, which is small. */
static struct reader reader;

/* Returns 0 or an errno. A FIFO must not hold us up. */
static int reader_open(struct reader *r, int root, const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	struct stat st;
	int code;

	r->at = r->len = r->total = 0;
	/* EAGAIN: something was renamed or mounted on the machine while a ".." was walked. */
	for (int tries = 0; tries < TRIES_MAX; tries++) {
		r->fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (r->fd >= 0 || errno != EAGAIN)
			break;
	}
	if (r->fd < 0)
		return errno;
	if (fstat(r->fd, &st) == 0 && S_ISREG(st.st_mode))
		return 0;
	code = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	close(r->fd);
	return code;
}

static int next_byte(struct reader *r)
{
	if (r->at == r->len) {
		ssize_t n = r->total < FILE_MAX ? read(r->fd, r->buf, sizeof(r->buf)) : 0;

		if (n <= 0)
			return -1;
		r->at = 0;
		r->len = (size_t)n;
		r->total += (size_t)n;
	}
	return (unsigned char)r->buf[r->at++];
}

/* The next line that fits; longer ones, and those with a NUL, are nobody's. False at the end. */
static bool next_line(struct reader *r)
{
	for (;;) {
		bool fits = true;
		size_t n = 0;
		int c;

		while ((c = next_byte(r)) >= 0 && c != '\n') {
			if (c == '\0' || n == LINE_SIZE - 1)
				fits = false;
			else
				r->line[n++] = (char)c;
		}
		r->line[n] = '\0';
		if (fits && n > 0)
			return true;
		if (c < 0)
			return false;
	}
}

/* Cuts a line into its fields in place; what is missing is "". */
static void split(char *line, char *fields[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fields[i] = line;
		line += strcspn(line, ":");
		if (*line)
			*line++ = '\0';
	}
}

static bool read_id(const char *text, uint32_t *ret)
{
	uint32_t id = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		id = id * 10 + (uint32_t)(*text - '0');
		if (id > ID_MAX)
			return false;
	}
	*ret = id;
	return true;
}

/* The first entry of this name, or of ret->uid without one. 0, or an errno. */
static int find_user(int root, const char *name, struct init_user *ret)
{
	struct reader *r = &reader;
	char *f[7]; /* name, password, user, group, comment, home, shell */
	uint32_t uid = 0, gid = 0;
	int code = reader_open(r, root, "etc/passwd");

	if (code != 0)
		return code;
	code = ENOENT;
	while (code == ENOENT && next_line(r)) {
		split(r->line, f, 7);
		if (name && strcmp(f[0], name) != 0)
			continue;
		if (!read_id(f[2], &uid) || !read_id(f[3], &gid)) {
			code = name ? ERANGE : ENOENT;
			continue;
		}
		if (!name && uid != ret->uid)
			continue;
		code = 0;
		ret->uid = uid;
		ret->gid = gid;
		if (f[5][0] == '/' && strlen(f[5]) < sizeof(ret->home))
			memcpy(ret->home, f[5], strlen(f[5]) + 1);
	}
	close(r->fd);
	return code;
}

static bool is_member(char *list, const char *name)
{
	while (*list) {
		size_t len = strcspn(list, ",");

		if (len == strlen(name) && memcmp(list, name, len) == 0)
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

/* The group of this name. 0, or an errno. */
static int find_group(int root, const char *name, uint32_t *ret)
{
	struct reader *r = &reader;
	char *f[4]; /* name, password, group, members */
	int code = reader_open(r, root, "etc/group");

	if (code != 0)
		return code;
	code = ENOENT;
	while (code == ENOENT && next_line(r)) {
		split(r->line, f, 4);
		if (strcmp(f[0], name) == 0)
			code = read_id(f[2], ret) ? 0 : ERANGE;
	}
	close(r->fd);
	return code;
}

/* The groups that list the user. Without the file there are none. */
static int find_memberships(int root, const char *name, struct init_user *ret)
{
	struct reader *r = &reader;
	char *f[4];
	int code = reader_open(r, root, "etc/group");

	if (code != 0)
		return code == ENOENT ? 0 : code;
	while (code == 0 && next_line(r)) {
		uint32_t gid;

		split(r->line, f, 4);
		if (!is_member(f[3], name) || !read_id(f[2], &gid))
			continue;
		if (ret->n_groups == INIT_GROUPS_MAX)
			code = E2BIG;
		else
			ret->groups[ret->n_groups++] = gid;
	}
	close(r->fd);
	return code;
}

static int find_both(int root, const char *user, const char *group, struct init_user *u,
		     enum gt_init_user_part *part)
{
	bool number = read_id(user, &u->uid);
	int code = find_user(root, number ? NULL : user, u);

	*part = GT_INIT_USER_USER;
	if (!number && code != 0)
		return code;
	if (number && code != 0)
		u->gid = 0; /* a number need not be in the file */
	*part = GT_INIT_USER_GROUP;
	if (!group)
		return number ? 0 : find_memberships(root, user, u);
	return read_id(group, &u->gid) ? 0 : find_group(root, group, &u->gid);
}

int init_user_find(int root, const char *text, struct init_user *ret,
		   enum gt_init_user_part *ret_part)
{
	struct init_user u = { .n_groups = 0 };
	char user[NAME_SIZE], group[NAME_SIZE];
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	int code;

	*ret_part = GT_INIT_USER_USER;
	if (len == 0 || len >= sizeof(user) || (colon && strlen(colon + 1) >= sizeof(group)))
		return EINVAL;
	memcpy(user, text, len);
	user[len] = '\0';
	if (colon)
		memcpy(group, colon + 1, strlen(colon + 1) + 1);
	code = find_both(root, user, colon ? group : NULL, &u, ret_part);
	if (code != 0)
		return code;
	if (!u.home[0])
		memcpy(u.home, u.uid == 0 ? "/root" : "/", u.uid == 0 ? 6 : 2);
	*ret = u;
	return 0;
}
