/* store.c - a control's database: opened, written to, copied. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/store/backup.h>
#include <gantry/store/store.h>

#include "../torture.h"

#define WAIT_MS 10000
#define NOW_MS  1000000ULL

struct place {
	struct gt_store *store;
	int event;
	bool told;
	struct gt_err err;
	uint64_t number; /* of this run's rows */
};

static struct place place;

static void ring(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	if (write(place.event, &one, sizeof(one)) < 0)
		return;
}

static int store_open(const char *path, struct gt_err *err)
{
	struct gt_store_config config = { .path = path,
					  .bodies_dir = "control/bodies",
					  .ballast = "control/ballast",
					  .notify = ring };

	return gt_store_open(&config, &place.store, err);
}

static void store_close(void)
{
	gt_store_close(place.store);
	place.store = NULL;
}

static void directories(struct world *w)
{
	(void)w;
	MUST(mkdir("control", 0700) == 0 || errno == EEXIST);
	/* No row of a process before this one has its numbers. */
	place = (struct place){ .number = (uint64_t)getpid() * 16,
				.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	MUST(place.event >= 0);
}

static void with_store(struct world *w)
{
	struct gt_err err;

	directories(w);
	if (store_open("control/gantry.db", &err) < 0)
		broken("%s", err.text);
	store_close();
}

static void away(struct world *w)
{
	(void)w;
	gt_close(place.event);
}

/* Until it was told; what never comes is an answer that is missing. */
static int until_told(struct world *w, struct gt_err *err)
{
	for (int i = 0; !place.told; i++) {
		struct pollfd p = { .fd = place.event, .events = POLLIN };
		uint64_t n;

		if (poll(&p, 1, WAIT_MS) != 1 || i > 1000)
			return wrong(w, "the store says nothing");
		if (read(place.event, &n, sizeof(n)) < 0 && errno != EAGAIN) {
			/* Ours fails, not the store's. */
		}
		gt_store_poll(place.store);
	}
	if (place.err.code)
		*err = place.err;
	return -place.err.code;
}

static void on_put(const struct gt_err *err, void *arg)
{
	(void)arg;
	place.told = true;
	place.err = err ? *err : (struct gt_err){ 0 };
}

/* ---- opening ---- */

static int open_it(struct world *w, struct gt_err *err)
{
	int r;

	(void)w;
	r = store_open("control/gantry.db", err);
	store_close();
	return r;
}

/* ---- functions ---- */

static void find_row(const struct gt_function_row *row, void *arg)
{
	*(uint64_t *)arg |= row->revision == place.number;
}

static int is_there(struct world *w)
{
	uint64_t found = 0;
	struct gt_err err;

	if (store_open("control/gantry.db", &err) < 0 ||
	    gt_store_load(place.store, find_row, &found, &err) < 0)
		return wrong(w, "what was acknowledged can not be read: %s", err.text);
	store_close();
	return found ? 0 : wrong(w, "a function was acknowledged and is not there");
}

static int put_function(struct world *w, struct gt_err *err)
{
	struct gt_function_row row = { .name = (char *)"echo",
				       .revision = (uint32_t)++place.number,
				       .etag = "0123456789abcdef0123456789abcdef",
				       .spec_json = (char *)"{\"image\":\"host:\"}",
				       .created_ms = NOW_MS };
	uint64_t found = 0;
	int r = store_open("control/gantry.db", err);

	if (r < 0)
		return r;
	place.told = false;
	gt_store_put(place.store, &row, on_put, NULL);
	r = until_told(w, err);
	if (r == 0)
		r = gt_store_load(place.store, find_row, &found, err);
	store_close();
	if (r == 0 && !w->wrong[0] && !found)
		wrong(w, "a function was acknowledged and is not in the list");
	return r;
}

/* Nothing fails any more. */
static void look_for_row(struct world *w)
{
	is_there(w);
}

/* ---- durable calls ---- */

static void on_task(struct gt_task_op *op, const struct gt_err *err, void *arg)
{
	place.told = true;
	place.err = err ? *err : (struct gt_err){ 0 };
	*(struct gt_task_op **)arg = op;
}

static struct gt_task *new_task(struct gt_task_op *op, size_t body)
{
	struct gt_task *t = gt_task_op_add(op);

	snprintf(t->id, sizeof(t->id), "01CALL%020llu", (unsigned long long)place.number);
	gt_strcopy(t->function, sizeof(t->function), "echo");
	gt_strcopy(t->method, sizeof(t->method), "POST");
	gt_strcopy(t->print, sizeof(t->print), "p");
	t->path = gt_strdup("/");
	t->priority = GT_TASK_NORMAL;
	t->created_ms = NOW_MS;
	t->deadline_ms = NOW_MS * 2;
	t->body.data = gt_alloc(body + 1);
	t->body.len = body;
	memset(t->body.data, 'b', body);
	return t;
}

static int task(struct world *w, struct gt_task_op *op, struct gt_task_op **ret, struct gt_err *err)
{
	op->now_ms = NOW_MS;
	op->epoch = gt_store_epoch(place.store);
	op->done = on_task;
	op->arg = ret;
	place.told = false;
	gt_store_task(place.store, op);
	return until_told(w, err);
}

static int accept_of(struct world *w, size_t body, struct gt_err *err)
{
	struct gt_task_op *op = NULL, *back = NULL;
	int r = store_open("control/gantry.db", err);

	if (r < 0)
		return r;
	place.number++;
	op = gt_task_op_new(GT_TASK_ACCEPT);
	new_task(op, body);
	r = task(w, op, &back, err);
	store_close();
	gt_task_op_free(back);
	return r;
}

static int accept_small(struct world *w, struct gt_err *err)
{
	return accept_of(w, 100, err);
}

static int accept_large(struct world *w, struct gt_err *err)
{
	return accept_of(w, GT_TASK_INLINE_MAX + 5000, err);
}

/* What was acknowledged is there for who opens it next. */
static void look_for_task(struct world *w)
{
	struct gt_task_op *op = gt_task_op_new(GT_TASK_GET), *back = NULL;
	struct gt_err err = { 0 };

	if (store_open("control/gantry.db", &err) < 0) {
		gt_task_op_free(op);
		wrong(w, "what was acknowledged can not be read: %s", err.text);
		return;
	}
	snprintf(op->id, sizeof(op->id), "01CALL%020llu", (unsigned long long)place.number);
	if (task(w, op, &back, &err) < 0 || !back->n_tasks)
		wrong(w, "a call was acknowledged and is not there: %s", err.text);
	store_close();
	gt_task_op_free(back);
}

/* ---- who joins ---- */

static void on_member(struct gt_member_op *op, const struct gt_err *err, void *arg)
{
	place.told = true;
	place.err = err ? *err : (struct gt_err){ 0 };
	*(struct gt_member_op **)arg = op;
}

static int add_token(struct world *w, struct gt_err *err)
{
	struct gt_member_op *op, *back = NULL;
	int r = store_open("control/gantry.db", err);

	if (r < 0)
		return r;
	op = gt_member_op_new(GT_MEMBER_TOKEN_ADD);
	op->now_ms = NOW_MS;
	op->token.expires_ms = NOW_MS * 2;
	snprintf(op->token.id, sizeof(op->token.id), "01TOKEN%019llu",
		 (unsigned long long)++place.number);
	snprintf(op->token.digest, sizeof(op->token.digest), "%064llu",
		 (unsigned long long)place.number);
	op->done = on_member;
	op->arg = &back;
	place.told = false;
	gt_store_member(place.store, op);
	r = until_told(w, err);
	store_close();
	gt_member_op_free(back);
	return r;
}

/* ---- what is secret ---- */

static int keep_key(struct world *w, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf got = { 0 };
	char name[32];
	int r = store_open("control/gantry.db", err);

	snprintf(name, sizeof(name), "key%llu", (unsigned long long)++place.number);
	if (r == 0)
		r = gt_store_key_keep(place.store, name, "secret", NOW_MS, err);
	if (r == 0)
		r = gt_store_key(place.store, name, &got, err);
	store_close();
	if (r == 0 && !gt_streq(gt_buf_str(&got), "secret"))
		wrong(w, "the key is \"%s\"", gt_buf_str(&got));
	return r;
}

/* ---- copies ---- */

static void with_rows(struct world *w)
{
	struct gt_err err = { 0 };

	with_store(w);
	if (put_function(w, &err) < 0 || accept_large(w, &err) < 0)
		broken("%s", err.text);
}

static int copy(struct world *w, struct gt_err *err)
{
	int r;

	(void)w;
	remove_all("copy");
	if (mkdir("copy", 0700) < 0)
		return gt_err_errno(err, errno, "mkdir copy");
	r = gt_store_copy("control", "copy", err);
	return r < 0 ? r : gt_store_verify("copy", err);
}

static int verify(struct world *w, struct gt_err *err)
{
	(void)w;
	return gt_store_verify("control", err);
}

static int renumber(struct world *w, struct gt_err *err)
{
	(void)w;
	return gt_store_renumber("control", err);
}

const struct scene store_scenes[] = {
	{ "store.open_new", KEEPS | WARM, directories, open_it, NULL, away, NULL },
	{ "store.open", KEEPS | WARM, with_store, open_it, NULL, away, NULL },
	{ "store.put", KEEPS | WARM, with_store, put_function, look_for_row, away, NULL },
	{ "store.accept", KEEPS | WARM, with_store, accept_small, look_for_task, away, NULL },
	{ "store.accept_large", KEEPS | WARM, with_store, accept_large, look_for_task, away, NULL },
	{ "store.join_token", KEEPS | WARM, with_store, add_token, NULL, away, NULL },
	{ "store.key", KEEPS | WARM, with_store, keep_key, NULL, away, NULL },
	{ "store.copy", KEEPS | WARM, with_rows, copy, NULL, away, NULL },
	{ "store.verify", KEEPS | WARM, with_rows, verify, NULL, away, NULL },
	{ "store.renumber", KEEPS | WARM, with_rows, renumber, NULL, away, NULL },
};
SCENES_OF(store);
