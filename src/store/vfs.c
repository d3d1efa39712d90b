/* store/vfs.c - SQLite makes every path absolute with getcwd and checks each parent with lstat.
 * Control works in a directory whose parents it may not search, so this layer is the system's own
 * in all but that: names stay as they are. */
#include <pthread.h>

#include <sqlite3.h>

#include "db_kind.h"

static sqlite3_vfs shim;
static int registered;

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
