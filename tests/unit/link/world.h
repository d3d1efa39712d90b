/* world.h - real control, its link on a socket, and a client; the store answers in the next round
 * of the loop. */
#ifndef TEST_LINK_WORLD_H
#define TEST_LINK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <gantry/control/member.h>
#include <gantry/control/task.h>
#include <gantry/http/client.h>
#include <gantry/http/pki.h>
#include <gantry/link/link.h>
#include <gantry/wire/wire.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct world {
	struct gt_loop *loop;
	struct gt_http_client *client;
	struct gt_control *control;
	struct gt_link *link;
	char path[64];
	int fd;
	struct gt_timer stored; /* the store's answer comes in the next round */
	gt_store_done_fn *done;
	void *done_arg;
	struct gt_timer stored_member;
	struct gt_member_op *member; /* that waits for the store */
	struct gt_err member_err;    /* what the store says of it; code 0 = done */
	struct gt_task_op *task;     /* that waits for the store, for ever */
	bool silent;                 /* the store answers nothing of members either */
	struct gt_pki_ca *authority;
	uint64_t now_ms; /* of certificates */
};

int world_setup(void **state);
int world_teardown(void **state);

#define step_until(w, cond)                                                     \
	do {                                                                    \
		int n_ = 0;                                                     \
		while (!(cond) && n_++ < 2000)                                  \
			assert_int_equal(gt_loop_step((w)->loop, 20, NULL), 0); \
		assert_true(cond);                                              \
	} while (0)

/* Posts, as whom a gateway says it is ("node/a"; NULL: a role of this daemon); the answer's body is
 * added to `answer`, if that is given. Returns the status. */
int post_as(struct world *w, const char *path, const char *sender, const char *body, size_t len,
	    struct gt_buf *answer);
int post(struct world *w, const char *path, const char *body, size_t len);
/* The same, without waiting for the answer. */
void post_only(struct world *w, const char *path, const char *body, size_t len);

#endif
