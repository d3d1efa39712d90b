/* store/vfs.c - what is ours of SQLite's file layer; all else is the system's own.
 *
 * SQLite makes every path absolute with getcwd and checks each parent with lstat. Control works in
 * a directory whose parents it may not search, so names stay as they are.
 *
 * A read that fails with EIO comes back from a statement as SQLITE_CORRUPT, with no word of the
 * system's: it is noted here, for the thread whose it was. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include <sqlite3.h>

#include "db_kind.h"

static sqlite3_vfs shim;
static int registered;

static __thread int unread;

static ssize_t noting_pread(int fd, void *to, size_t len, off_t at)
{
	ssize_t n = pread(fd, to, len, at);

	if (n < 0 && errno != EINTR)
		unread = errno;
	return n;
}

int gt_db_unread(void)
{
	int r = unread;

	unread = 0;
	return r;
}

static int keep_name(sqlite3_vfs *vfs GT_UNUSED, const char *name, int size, char *out)
{
	return gt_strcopy(out, (size_t)size, name) ? SQLITE_OK : SQLITE_CANTOPEN;
}

static void shim_register(void)
{
	const sqlite3_vfs *system;

	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* nobody asks; each allocation took a lock */
	system = sqlite3_vfs_find(NULL);
	if (!system)
		return;
	shim = *system;
	shim.zName = "gantry";
	shim.pNext = NULL;
	shim.xFullPathname = keep_name;
	/* Of all layers of the process; SQLite has the one or the other. */
	if (shim.xSetSystemCall(&shim, "pread64", (sqlite3_syscall_ptr)noting_pread) != SQLITE_OK &&
	    shim.xSetSystemCall(&shim, "pread", (sqlite3_syscall_ptr)noting_pread) != SQLITE_OK)
		return;
	registered = sqlite3_vfs_register(&shim, 0) == SQLITE_OK;
}

int gt_db_vfs(const char **name, struct gt_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, shim_register);
	if (!registered)
		return gt_err_set(err, EIO, "internal", "SQLite has no file layer");
	*name = shim.zName;
	return 0;
}
