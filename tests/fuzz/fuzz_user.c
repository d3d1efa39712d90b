/* The reader of an image's /etc/passwd and /etc/group: whatever the files hold, who is found is a
 * user of a container, and a name that is found stands in them. Input: who, NUL, passwd, NUL,
 * group.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A part of gantry-init, which is no part of the library. */
#include "../../src/runtime/init/user.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static char dir[] = "/tmp/gantry-fuzz-XXXXXX";
static int root = -1;

static void remove_dir(void)
{
	unlinkat(root, "etc/passwd", 0);
	unlinkat(root, "etc/group", 0);
	unlinkat(root, "etc", AT_REMOVEDIR);
	rmdir(dir);
}

static void make_dir(void)
{
	assert(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert(root >= 0 && mkdirat(root, "etc", 0755) == 0);
	atexit(remove_dir);
}

static void put(const char *path, const uint8_t *data, size_t len)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n = write(fd, data, len);

	assert(fd >= 0 && n == (ssize_t)len);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = memchr(data, 0, len), *passwd, *group;
	enum gt_init_user_part part;
	struct init_user u = { .uid = ~0u };
	size_t passwd_len, name_len;

	if (!end)
		return 0;
	if (root < 0)
		make_dir();
	passwd = end + 1;
	len -= (size_t)(passwd - data);
	group = memchr(passwd, 0, len);
	passwd_len = group ? (size_t)(group - passwd) : len;
	put("etc/passwd", passwd, passwd_len);
	if (group)
		put("etc/group", group + 1, len - passwd_len - 1);
	if (init_user_find(root, (const char *)data, &u, &part) != 0) {
		assert(u.uid == ~0u); /* a refusal writes nothing */
		return 0;
	}
	assert(u.uid <= 65535 && u.gid <= 65535 && u.n_groups <= INIT_GROUPS_MAX);
	assert(u.home[0] == '/' && memchr(u.home, 0, sizeof(u.home)));
	name_len = strcspn((const char *)data, ":");
	if (strspn((const char *)data, "0123456789") < name_len)
		assert(memmem(passwd, passwd_len, data, name_len));
	return 0;
}
