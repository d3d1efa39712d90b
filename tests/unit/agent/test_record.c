/* test_record.c - what a later agent needs to find a replica is not thrown away because that agent
 * lacks something. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent_impl.h"
#include "record.h"

#define ID "01AAAAAAAAAAAAAAAAAAAAAAAA"

static char dir[64];
static struct agent agent;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	int fd;

	(void)state;
	gt_strcopy(dir, sizeof(dir), "/tmp/gantry-record-XXXXXX");
	assert_non_null(mkdtemp(dir));
	agent.replicas_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(agent.replicas_fd >= 0);
	assert_int_equal(mkdirat(agent.replicas_fd, ID, 0700), 0);
	fd = openat(agent.replicas_fd, ID "/record", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(agent.replicas_fd);
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* With room for so many descriptors. */
static int load_with(unsigned room, struct gt_err *err)
{
	struct rlimit before, few;
	int lowest = dup(agent.replicas_fd), r;

	assert_true(lowest >= 0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ (rlim_t)lowest + room, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = gt_records_load(&agent, err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	return r;
}

static void a_record_that_was_not_read_stays(void **state)
{
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(load_with(0, &err), -EMFILE); /* not even the list */
	assert_true(err.text[0]);
	gt_err_clear(&err);
	assert_int_equal(load_with(1, &err), -EMFILE);
	assert_true(err.text[0]);
	assert_int_equal(faccessat(agent.replicas_fd, ID "/record", F_OK, 0), 0);
	/* One that is no record goes. */
	assert_int_equal(load_with(2, &err), 0);
	assert_int_equal(faccessat(agent.replicas_fd, ID, F_OK, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_record_that_was_not_read_stays, set_up,
						tear_down),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
