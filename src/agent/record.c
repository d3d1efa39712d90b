/* record.c - what a later agent needs to find a replica: DIR/agent/replicas/<id>/
 *
 *	record	which process, which sandbox, which spec; written before anything of the image runs.
 *		Behind a NUL, where older agents do not look, is how long it took to be ready
 *	ready	another name of it, there once it was ready: what older agents look for
 *	stdout, stderr	FIFOs that process 1 keeps open
 *	status	process 1 writes the end of the program here, agent or not
 *	park	is there while it is parked ("parked"), or on its way there or back ("parking");
 *		not for those that are only frozen: the kernel knows
 *
 * Renamed into place and never synced: after a crash of the machine there is nothing to adopt. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "agent_impl.h"

#define RECORD_HEAD "gantry-replica 1\n"
#define READY       "ready "
#define RECORD_MAX  (GT_SPEC_BYTES_MAX + 4096)
#define PATH_SIZE   (GT_REPLICA_ID_SIZE + 16)

static const char *const file_names[] = {
	[RECORD_STDOUT] = "stdout",
	[RECORD_STDERR] = "stderr",
	[RECORD_STATUS] = "status",
};

static const char *path_of(const struct replica *r, const char *name, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s", r->id, name);
	return path;
}

static int open_one(struct replica *r, int which, int flags, int *ret, struct gt_err *err)
{
	char path[PATH_SIZE];
	int fd = openat(r->agent->replicas_fd, path_of(r, file_names[which], path),
			flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return gt_err_errno(err, errno, "open %s", path);
	*ret = fd;
	return 0;
}

/* Both directions: neither the program nor we may ever be without a peer. */
static int open_all(struct replica *r, int ret_fds[3], struct gt_err *err)
{
	gt_auto(fd) int out = -EBADF, errs = -EBADF, status = -EBADF;
	int res = open_one(r, RECORD_STDOUT, O_RDWR, &out, err);

	if (res == 0)
		res = open_one(r, RECORD_STDERR, O_RDWR, &errs, err);
	if (res == 0)
		res = open_one(r, RECORD_STATUS, O_RDWR | O_CREAT, &status, err);
	if (res < 0)
		return res;
	ret_fds[RECORD_STDOUT] = gt_steal_fd(&out);
	ret_fds[RECORD_STDERR] = gt_steal_fd(&errs);
	ret_fds[RECORD_STATUS] = gt_steal_fd(&status);
	return 0;
}

int gt_record_make(struct replica *r, int ret_fds[3], struct gt_err *err)
{
	int dir = r->agent->replicas_fd, res;
	char path[PATH_SIZE];

	res = gt_os_mkdir_at(dir, r->id, 0700, err);
	for (int i = RECORD_STDOUT; res == 0 && i <= RECORD_STDERR; i++)
		res = gt_os_fifo_at(dir, path_of(r, file_names[i], path), err);
	if (res == 0)
		res = open_all(r, ret_fds, err);
	return res;
}

int gt_record_open(struct replica *r, int ret_fds[3], struct gt_err *err)
{
	return open_all(r, ret_fds, err);
}

int gt_record_write(struct replica *r, struct gt_err *err)
{
	char path[PATH_SIZE], temp[PATH_SIZE];
	int dir = r->agent->replicas_fd;
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 2 * RECORD_MAX);
	gt_buf_addf(&out, RECORD_HEAD "%s %u %llu %s %d %llu %d", r->function, r->revision,
		    (unsigned long long)r->created_ms, r->where.sandbox, (int)r->where.pid,
		    (unsigned long long)r->where.start_time, r->where.again);
	if (r->gang.size > 0)
		gt_buf_addf(&out, " @%s:%u:%u:%u:%u:%u", r->gang.id, r->gang.epoch, r->gang.rank,
			    r->gang.size, r->gang.port, r->where.slot);
	for (size_t i = 0; i < r->n_gpus; i++)
		gt_buf_addf(&out, " %s:%u:%llu", r->gpus[i].uuid, r->gpus[i].milli,
			    (unsigned long long)r->gpus[i].memory_bytes);
	gt_buf_addc(&out, '\n');
	gt_buf_adds(&out, r->spec_json);
	path_of(r, "record", path);
	path_of(r, "record.new", temp);
	gt_auto(fd) int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return gt_err_errno(err, errno, "write %s", temp);
	if (write(fd, out.data, out.len) != (ssize_t)out.len)
		return gt_err_errno(err, errno ? errno : ENOSPC, "write %s", temp);
	if (renameat(dir, temp, dir, path) < 0)
		return gt_err_errno(err, errno, "rename %s", temp);
	return 0;
}

/* Into the record, and a name more for it: the first call waits meanwhile, and to make one more
 * file can take milliseconds (ext4 without a journal looks at each file that was deleted lately).
 */
void gt_record_ready(const struct replica *r)
{
	const struct gt_phases *p = &r->phases;
	char path[PATH_SIZE], name[PATH_SIZE];
	int dir = r->agent->replicas_fd;

	gt_auto(fd) int fd = openat(dir, path_of(r, "record", path),
				    O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return;
	dprintf(fd, "%c" READY "%llu %llu %llu %llu %llu %llu", '\0',
		(unsigned long long)p->image_us, (unsigned long long)p->sandbox_us,
		(unsigned long long)p->root_us, (unsigned long long)p->exec_us,
		(unsigned long long)p->ready_us, (unsigned long long)p->weights_us);
	(void)!linkat(dir, path, dir, path_of(r, "ready", name), 0);
}

static bool read_phases(const char *text, struct gt_phases *ret)
{
	unsigned long long us[6];

	if (sscanf(text, "%llu %llu %llu %llu %llu %llu", &us[0], &us[1], &us[2], &us[3], &us[4],
		   &us[5]) < 6)
		return false;
	*ret = (struct gt_phases){ us[0], us[1], us[2], us[3], us[4], us[5] };
	return true;
}

/* Was it ready, by the record itself, whose text has room for a NUL more behind its own; or, where
 * an older agent made it, by the numbers in a file of their own? */
static bool read_ready(struct agent *a, const char *id, const char *text, struct gt_phases *ret)
{
	const char *more = text + strlen(text) + 1;
	char path[512], numbers[128];

	if (gt_starts_with(more, READY))
		return read_phases(more + strlen(READY), ret);
	snprintf(path, sizeof(path), "%s/ready", id);
	return gt_os_read_at(a->replicas_fd, path, numbers, sizeof(numbers), NULL) == 0 &&
	       read_phases(numbers, ret);
}

void gt_record_park(const struct replica *r, enum gt_replica_state state)
{
	char path[PATH_SIZE];

	if (r->park.method == GT_PARK_FREEZE)
		return;
	path_of(r, "park", path);
	if (state == GT_REPLICA_READY) {
		unlinkat(r->agent->replicas_fd, path, 0);
		return;
	}
	gt_auto(fd) int fd = openat(r->agent->replicas_fd, path,
				    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	dprintf(fd, "%s %llu", gt_replica_state_name(state),
		(unsigned long long)r->parking.gpu_bytes);
	for (size_t i = 0; i < r->parking.steps.n; i++)
		dprintf(fd, " %d", (int)r->parking.pids[i]);
}

enum gt_replica_state gt_record_park_state(struct replica *r)
{
	struct parking *p = &r->parking;
	char path[PATH_SIZE], text[512];
	unsigned long long bytes = 0;
	int len = 0, more;

	if (gt_os_read_at(r->agent->replicas_fd, path_of(r, "park", path), text, sizeof(text),
			  NULL) < 0)
		return GT_REPLICA_READY;
	sscanf(text, "%*s %llu%n", &bytes, &len);
	p->gpu_bytes = bytes;
	p->steps.n = 0;
	for (const char *at = text + len; p->steps.n < PARK_PROCS_MAX; at += more)
		if (sscanf(at, " %d%n", &p->pids[p->steps.n], &more) == 1)
			p->steps.n++;
		else
			break;
	return gt_starts_with(text, "parked") ? GT_REPLICA_PARKED : GT_REPLICA_PARKING;
}

static void remove_id(int dir, const char *id)
{
	static const char *const names[] = {
		"record", "record.new", "stdout", "stderr", "status", "ready", "weights", "park",
	};
	char path[512];

	for (size_t i = 0; i < GT_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", id, names[i]);
		unlinkat(dir, path, 0);
	}
	gt_os_rmdir_at(dir, id, NULL);
}

void gt_record_remove(struct replica *r)
{
	remove_id(r->agent->replicas_fd, r->id);
}

/* " UUID:MILLI:BYTES" again and again, to the end of the line; older records have none. */
static size_t read_gpus(const char *at, struct gt_gpu_grant ret[GT_NODE_GPUS_MAX])
{
	unsigned long long bytes;
	size_t n = 0;
	int len;

	while (n < GT_NODE_GPUS_MAX &&
	       sscanf(at, " %79[^: \n]:%u:%llu%n", ret[n].uuid, &ret[n].milli, &bytes, &len) == 3) {
		ret[n++].memory_bytes = bytes;
		at += len;
	}
	return n;
}

/* " @GANG:EPOCH:RANK:SIZE:PORT:SLOT", where it is a gang's. Returns how long that is. */
static int read_gang(const char *at, struct gt_gang_member *ret, uint32_t *ret_slot)
{
	struct gt_gang_member m = { .size = 0 };
	unsigned port;
	int len = 0;

	if (sscanf(at, " @%26[0-9A-Z]:%u:%u:%u:%u:%u%n", m.id, &m.epoch, &m.rank, &m.size, &port,
		   ret_slot, &len) < 6 ||
	    port > UINT16_MAX)
		return 0;
	m.port = (uint16_t)port;
	if (!gt_gang_member_ok(&m))
		return 0;
	*ret = m;
	return len;
}

/* 0, or -EBADMSG: there is no whole record of this id. */
static int load_one(struct agent *a, const char *id, struct gt_err *err)
{
	gt_auto(free) char *text = gt_alloc(RECORD_MAX + 2);
	struct gt_container_where where = { .pid = 0 };
	unsigned long long created, start;
	char path[512], function[GT_NAME_MAX + 1];
	struct replica *r;
	unsigned revision;
	char *spec;
	int pid, again = 0, len = 0, r_read; /* older records do not tell */
	struct gt_gpu_grant gpus[GT_NODE_GPUS_MAX];

	snprintf(path, sizeof(path), "%s/record", id);
	if (strlen(id) != GT_ULID_LEN)
		return -EBADMSG;
	r_read = gt_os_read_at(a->replicas_fd, path, text, RECORD_MAX, err);
	if (gt_err_is_want(-r_read))
		return r_read;
	if (r_read < 0 || !gt_starts_with(text, RECORD_HEAD) ||
	    sscanf(text + strlen(RECORD_HEAD), "%63s %u %llu %47s %d %llu%*[ ]%d%n", function,
		   &revision, &created, where.sandbox, &pid, &start, &again, &len) < 6)
		return -EBADMSG;
	spec = strchr(text + strlen(RECORD_HEAD), '\n');
	if (!spec || !gt_name_ok(function))
		return -EBADMSG;
	/* It is one line; some agents wrote that it was ready as the next one. */
	spec[1 + strcspn(spec + 1, "\n")] = '\0';
	where.pid = pid;
	where.again = again == 1;
	where.start_time = start;
	r = gt_replica_new(a, id, function, revision, spec + 1);
	r->created_ms = created;
	r->where = where;
	r->was_ready = read_ready(a, id, text, &r->phases);
	if (len) {
		const char *rest = text + strlen(RECORD_HEAD) + len;

		rest += read_gang(rest, &r->gang, &r->where.slot);
		gt_replica_gpus_set(r, gpus, read_gpus(rest, gpus));
	}
	gt_replica_adopt(r);
	return 0;
}

int gt_records_load(struct agent *a, struct gt_err *err)
{
	DIR *d = gt_os_list(a->replicas_fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return gt_err_errno(err, errno, "list the records of replicas");
	while (r == 0 && (errno = 0, e = readdir(d))) {
		int one = e->d_name[0] == '.' ? 0 : load_one(a, e->d_name, err);

		if (gt_err_is_want(-one))
			r = gt_err_wrap(err, "record of a replica");
		if (one == 0 || r < 0)
			continue;
		gt_debug("record %s is not complete: removed", e->d_name);
		remove_id(a->replicas_fd, e->d_name);
	}
	if (r == 0 && errno)
		r = gt_err_errno(err, errno, "list the records of replicas");
	closedir(d);
	return r;
}
