/* fixture.h - a runtime on a loop, in a directory of its own, with a root file system to run. */
#ifndef TEST_RUNTIME_FIXTURE_H
#define TEST_RUNTIME_FIXTURE_H

#include <gantry/base/buf.h>
#include <gantry/runtime/runtime.h>

struct fixture {
	char dir[64];    /* state */
	char rootfs[96]; /* holds /echo and empty directories */
	struct gt_loop *loop;
	struct gt_runtime *rt;
};

struct run {
	struct gt_container *c;
	struct gt_container_where where;
	int out[2]; /* [0] our end, [1] the container's, of its output */
	int status;
	bool placed, started, failed, exited;
	uint64_t root_us, exec_us;
	struct gt_err err;
	struct gt_exit how;
	struct gt_buf text; /* what it printed */
};

/* 0, or -1 with a printed reason when this machine can not run containers. */
int fixture_open(struct fixture *f, unsigned pool);
/* The same; dir and allow_host_image are filled in. */
int fixture_open_with(struct fixture *f, struct gt_runtime_config config);
/* Steps the loop until so many wait staged and prepared. */
void fixture_until_waiting(struct fixture *f, unsigned staged, unsigned prepared);
/* Also when f->rt is freed and NULL. Without it, as after a failure, what is left is killed and
 * removed when the program ends. */
void fixture_close(struct fixture *f);
/* Steps the loop until *flag or 10 s have passed. */
void fixture_until(struct fixture *f, const bool *flag);
/* A spec for this shell command, in the host's image. */
struct gt_spec *fixture_shell(const char *script);
struct gt_spec *fixture_echo(const struct fixture *f);
void fixture_command(struct gt_spec *spec, const char *const *words); /* NULL-terminated */
void fixture_mount(struct gt_spec *spec, const char *host, const char *path, bool readonly);
/* Starts it; 0 or the refusal. The spec is freed. */
int run_start(struct fixture *f, struct gt_spec *spec, struct run *run);
/* The same with args whose function, revision and layers are set, and maybe stdout_fd. */
int run_start_as(struct fixture *f, struct gt_container_args args, struct gt_spec *spec,
		 struct run *run);
/* Starts it and waits for its end. */
void run_all(struct fixture *f, struct gt_spec *spec, struct run *run);
uint32_t fixture_id_base(const struct run *run); /* of its sandbox's range of ids */
void run_read(struct run *run);                  /* what is in the pipe now */
void run_close(struct run *run);

#endif
