/* test_members.c - join tokens let one machine in, once. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/store/store.h>

#include "backend.h"

#define NOW  1000000000ULL
#define HOUR 3600000ULL

struct world {
	char dir[64];
	int event;
	struct gt_store *store;
	/* of the last operation */
	bool done;
	struct gt_err err;
	struct gt_member_op *op;
	struct gt_webhook_keys keys;
};

static void ring(void *arg)
{
	uint64_t one = 1;

	if (write(((struct world *)arg)->event, &one, sizeof(one)) < 0)
		abort();
}

static void reopen(struct world *w)
{
	struct gt_store_config config = { .path = backend_path(), .notify = ring, .notify_arg = w };
	struct gt_err err = { 0 };

	gt_store_close(w->store);
	w->store = NULL;
	if (gt_store_open(&config, &w->store, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gt-members-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chdir(w->dir), 0);
	assert_int_equal(mkdir("control", 0700), 0);
	backend_fresh();
	w->event = eventfd(0, EFD_CLOEXEC);
	reopen(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = { "control/gantry.db", "control/gantry.db-wal",
					     "control/gantry.db-shm" };
	struct world *w = *state;

	gt_store_close(w->store);
	gt_member_op_free(w->op);
	for (size_t i = 0; i < GT_LEN(files); i++)
		unlink(files[i]);
	assert_int_equal(rmdir("control"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(w->dir), 0);
	close(w->event);
	free(w);
	return 0;
}

static void on_done(struct gt_member_op *op, const struct gt_err *err, void *arg)
{
	struct world *w = arg;

	w->done = true;
	w->op = op;
	w->err = err ? *err : (struct gt_err){ 0 };
}

static int outcome(struct world *w)
{
	while (!w->done) {
		struct pollfd p = { .fd = w->event, .events = POLLIN };
		uint64_t n;

		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(read(w->event, &n, sizeof(n)), sizeof(n));
		gt_store_poll(w->store);
	}
	return w->err.code;
}

/* 0 or the errno; what came back stays in w->op. */
static int run(struct world *w, struct gt_member_op *op)
{
	op->done = on_done;
	op->arg = w;
	gt_member_op_free(w->op);
	w->op = NULL;
	w->done = false;
	gt_store_member(w->store, op);
	return outcome(w);
}

static int add(struct world *w, const char *id, const char *digest, const char *node)
{
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_TOKEN_ADD);

	op->now_ms = op->token.created_ms = NOW;
	op->token.expires_ms = NOW + HOUR;
	gt_strcopy(op->token.id, sizeof(op->token.id), id);
	gt_strcopy(op->token.digest, sizeof(op->token.digest), digest);
	gt_strcopy(op->token.node, sizeof(op->token.node), node);
	return run(w, op);
}

static int join_at(struct world *w, const char *digest, const char *node, const char *key,
		   uint64_t now_ms, bool taken)
{
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_JOIN);

	op->now_ms = now_ms;
	op->taken = taken;
	gt_strcopy(op->token.digest, sizeof(op->token.digest), digest);
	gt_strcopy(op->member.node, sizeof(op->member.node), node);
	gt_strcopy(op->key, sizeof(op->key), key);
	return run(w, op);
}

static int join(struct world *w, const char *digest, const char *node, const char *key)
{
	return join_at(w, digest, node, key, NOW + 1, false);
}

static int leave(struct world *w, const char *node)
{
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_LEAVE);

	gt_strcopy(op->member.node, sizeof(op->member.node), node);
	return run(w, op);
}

static void on_member(const struct gt_member *m, void *arg)
{
	gt_buf_addf(arg, "%s %llu;", m->node, (unsigned long long)(m->since_ms - NOW));
}

static void assert_members(struct world *w, const char *wanted)
{
	gt_auto(buf) struct gt_buf seen = { 0 };

	assert_int_equal(gt_store_load_members(w->store, on_member, &seen, NULL), 0);
	assert_string_equal(gt_buf_str(&seen), wanted);
}

static void a_token_lets_one_node_in_once(void **state)
{
	struct world *w = *state;

	assert_int_equal(add(w, "1", "d1", ""), 0);
	assert_int_equal(join(w, "d2", "a", "k"), EACCES);
	assert_string_equal(w->err.slug, "bad_join_token");
	assert_int_equal(join(w, "d1", "a", "k"), 0);
	assert_int_equal(w->op->member.since_ms, NOW + 1);
	assert_false(w->op->repeated);
	assert_int_equal(join(w, "d1", "b", "k"), EACCES);
	assert_int_equal(join(w, "d1", "a", "other"), EACCES);
	reopen(w);
	assert_int_equal(join(w, "d1", "b", "k2"), EACCES);
	assert_members(w, "a 1;");
}

/* Its answer was lost: the same machine asks once more. */
static void the_same_join_once_more_is_the_same_one(void **state)
{
	struct world *w = *state;

	assert_int_equal(add(w, "1", "d1", ""), 0);
	assert_int_equal(join(w, "d1", "a", "k"), 0);
	reopen(w);
	assert_int_equal(join_at(w, "d1", "a", "k", NOW + 50, true), 0);
	assert_true(w->op->repeated);
	assert_int_equal(w->op->member.since_ms, NOW + 1);
	assert_int_equal(join_at(w, "d1", "a", "k", NOW + HOUR, true), EACCES);
	/* Once it was removed its token is spent. */
	assert_int_equal(leave(w, "a"), 0);
	assert_int_equal(join(w, "d1", "a", "k"), EACCES);
	assert_members(w, "");
}

static void a_name_that_is_taken_costs_no_token(void **state)
{
	struct world *w = *state;

	assert_int_equal(add(w, "1", "d1", ""), 0);
	assert_int_equal(add(w, "2", "d2", ""), 0);
	assert_int_equal(join(w, "d1", "a", "k"), 0);
	assert_int_equal(join(w, "d2", "a", "k2"), EEXIST);
	assert_string_equal(w->err.slug, "node_exists");
	assert_int_equal(join_at(w, "d2", "local", "k2", NOW, true), EEXIST);
	/* Who has no token is not told which names there are. */
	assert_int_equal(join_at(w, "d3", "local", "k2", NOW, true), EACCES);
	assert_int_equal(join(w, "d2", "b", "k2"), 0);
	assert_members(w, "a 1;b 1;");
}

static void a_token_ends_and_may_be_for_one_name(void **state)
{
	struct world *w = *state;

	assert_int_equal(add(w, "1", "d1", "a"), 0);
	assert_int_equal(join(w, "d1", "b", "k"), EACCES);
	assert_int_equal(join_at(w, "d1", "a", "k", NOW + HOUR, false), EACCES);
	assert_int_equal(join_at(w, "d1", "a", "k", NOW + HOUR - 1, false), 0);
}

static size_t tokens(struct world *w)
{
	assert_int_equal(run(w, gt_member_op_new(GT_MEMBER_TOKENS)), 0);
	return w->op->n_tokens;
}

static void drop(struct world *w, const char *id, int wanted)
{
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_TOKEN_DROP);

	gt_strcopy(op->token.id, sizeof(op->token.id), id);
	assert_int_equal(run(w, op), wanted);
}

static void tokens_are_listed_and_dropped(void **state)
{
	struct world *w = *state;

	assert_int_equal(tokens(w), 0);
	assert_int_equal(add(w, "1", "d1", "a"), 0);
	assert_int_equal(add(w, "2", "d2", ""), 0);
	assert_int_equal(join(w, "d1", "a", "k"), 0);
	assert_int_equal(tokens(w), 2);
	assert_string_equal(w->op->tokens[0].id, "2");
	assert_string_equal(w->op->tokens[1].used_by, "a");
	assert_int_equal(w->op->tokens[1].used_ms, NOW + 1);
	assert_string_equal(w->op->tokens[1].node, "a");
	drop(w, "3", ENOENT);
	drop(w, "2", 0);
	drop(w, "2", ENOENT);
	assert_int_equal(join(w, "d2", "b", "k"), EACCES);
	assert_int_equal(tokens(w), 1);
}

static void old_tokens_make_room(void **state)
{
	struct world *w = *state;
	char id[16];

	for (int i = 0; i < GT_JOIN_TOKENS_MAX; i++) {
		snprintf(id, sizeof(id), "%04d", i);
		assert_int_equal(add(w, id, id, ""), 0);
	}
	assert_int_equal(add(w, "x", "x", ""), EBUSY);
	struct gt_member_op *op = gt_member_op_new(GT_MEMBER_TOKEN_ADD);

	op->now_ms = NOW + HOUR + GT_JOIN_KEEP_MS + 1;
	op->token.expires_ms = op->now_ms + 1;
	assert_int_equal(run(w, op), 0);
	assert_int_equal(tokens(w), 1);
}

static void on_duty(const struct gt_node_row *row GT_UNUSED, void *arg)
{
	(*(int *)arg)++;
}

static void on_put(const struct gt_err *err, void *arg)
{
	assert_null(err);
	*(bool *)arg = true;
}

static void who_leaves_takes_along_what_was_said_of_it(void **state)
{
	struct world *w = *state;
	struct gt_node_row row = { .name = "a", .duty = GT_DUTY_CORDONED };
	bool put = false;
	int n = 0;

	assert_int_equal(add(w, "1", "d1", ""), 0);
	assert_int_equal(join(w, "d1", "a", "k"), 0);
	gt_store_put_node(w->store, &row, on_put, &put);
	assert_int_equal(leave(w, "a"), 0); /* in the order of the calls */
	assert_true(put);
	assert_int_equal(leave(w, "nobody"), 0);
	reopen(w);
	assert_members(w, "");
	assert_int_equal(gt_store_load_nodes(w->store, on_duty, &n, NULL), 0);
	assert_int_equal(n, 0);
}

/* ---- hosts ---- */

static void on_host(struct gt_host_op *op, const struct gt_err *err, void *arg)
{
	struct world *w = arg;

	w->done = true;
	w->err = err ? *err : (struct gt_err){ 0 };
	free(op);
}

static int host(struct world *w, enum gt_host_verb verb, const struct gt_host_row *row,
		const struct gt_join_token *token)
{
	struct gt_host_op *op = gt_alloc(sizeof(*op));

	*op = (struct gt_host_op){ .verb = verb, .row = *row, .done = on_host, .arg = w };
	if (token)
		op->token = *token;
	w->done = false;
	gt_store_host(w->store, op);
	return outcome(w);
}

static void see_host(const struct gt_host_row *row, void *arg)
{
	gt_buf_addf(arg, "%s %s '%s' %s %llu %d;", row->key, row->provider, row->id, row->token,
		    (unsigned long long)row->asked_ms, row->releasing);
}

static void assert_hosts(struct world *w, const char *wanted)
{
	gt_auto(buf) struct gt_buf text = { 0 };

	assert_int_equal(gt_store_load_hosts(w->store, see_host, &text, NULL), 0);
	assert_string_equal(gt_buf_str(&text), wanted);
}

static void a_host_and_its_token_come_and_go_together(void **state)
{
	struct world *w = *state;
	struct gt_host_row a = { .key = "p-a", .provider = "p", .token = "T1", .asked_ms = 7 };
	const struct gt_host_row b = { .key = "p-b", .provider = "p", .asked_ms = 8 };
	const struct gt_join_token token = { .id = "T1",
					     .digest = "d1",
					     .node = "p-a",
					     .created_ms = NOW,
					     .expires_ms = NOW + HOUR };
	struct gt_join_token same = token;
	struct gt_host_row with = b;

	assert_int_equal(host(w, GT_HOST_PUT, &a, &token), 0);
	assert_int_equal(host(w, GT_HOST_PUT, &b, NULL), 0);
	gt_strcopy(a.id, sizeof(a.id), "i-1");
	assert_int_equal(host(w, GT_HOST_PUT, &a, NULL), 0);
	assert_int_equal(run(w, gt_member_op_new(GT_MEMBER_TOKENS)), 0);
	assert_int_equal(w->op->n_tokens, 1);
	assert_string_equal(w->op->tokens[0].node, "p-a");
	a.releasing = true; /* nobody may join by it any more */
	assert_int_equal(host(w, GT_HOST_PUT, &a, NULL), 0);
	reopen(w);
	assert_hosts(w, "p-a p 'i-1' T1 7 1;p-b p ''  8 0;");
	assert_int_equal(run(w, gt_member_op_new(GT_MEMBER_TOKENS)), 0);
	assert_int_equal(w->op->n_tokens, 0);
	/* Neither without the other. */
	gt_strcopy(a.key, sizeof(a.key), "p-c");
	a.releasing = false;
	assert_int_equal(host(w, GT_HOST_PUT, &b, &token), 0);
	gt_strcopy(same.id, sizeof(same.id), "T2"); /* its digest is taken */
	assert_int_not_equal(host(w, GT_HOST_PUT, &a, &same), 0);
	assert_hosts(w, "p-a p 'i-1' T1 7 1;p-b p ''  8 0;");
	gt_strcopy(a.key, sizeof(a.key), "p-a");
	assert_int_equal(host(w, GT_HOST_DROP, &a, NULL), 0);
	gt_strcopy(with.token, sizeof(with.token), "T1");
	assert_int_equal(host(w, GT_HOST_DROP, &with, NULL), 0);
	assert_hosts(w, "");
	assert_int_equal(run(w, gt_member_op_new(GT_MEMBER_TOKENS)), 0);
	assert_int_equal(w->op->n_tokens, 0);
}

static void there_is_one_authority(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err = { 0 };

	assert_int_equal(gt_store_authority(w->store, &key, &cert, &err), -ENOENT);
	assert_int_equal(gt_store_authority_keep(w->store, "k1", "c1", &err), 0);
	assert_int_equal(gt_store_authority_keep(w->store, "k2", "c2", &err), 0);
	reopen(w);
	assert_int_equal(gt_store_authority(w->store, &key, &cert, &err), 0);
	assert_string_equal(key.data, "k1");
	assert_string_equal(cert.data, "c1");
}

static void a_key_is_the_first_one_that_was_kept(void **state)
{
	struct world *w = *state;
	gt_auto(buf) struct gt_buf one = { 0 }, other = { 0 };
	struct gt_err err = { 0 };

	assert_int_equal(gt_store_key(w->store, "a", &one, &err), -ENOENT);
	assert_int_equal(gt_store_key_keep(w->store, "a", "first", NOW, &err), 0);
	assert_int_equal(gt_store_key_keep(w->store, "a", "second", NOW, &err), 0);
	assert_int_equal(gt_store_key_keep(w->store, "b", "third", NOW, &err), 0);
	reopen(w);
	assert_int_equal(gt_store_key(w->store, "a", &one, &err), 0);
	assert_int_equal(gt_store_key(w->store, "b", &other, &err), 0);
	assert_string_equal(one.data, "first");
	assert_string_equal(other.data, "third");
}

/* ---- keys of webhooks ---- */

static void on_webhook(struct gt_webhook_op *op, const struct gt_err *err, void *arg)
{
	struct world *w = arg;

	w->done = true;
	w->err = err ? *err : (struct gt_err){ 0 };
	w->keys = op->keys;
	gt_webhook_op_free(op);
}

static int webhook(struct world *w, struct gt_webhook_op *op)
{
	op->done = on_webhook;
	op->arg = w;
	w->done = false;
	gt_store_webhook(w->store, op);
	return outcome(w);
}

static int rotate(struct world *w, const char *text, uint64_t now_ms, uint64_t overlap_ms)
{
	struct gt_webhook_op *op = gt_webhook_op_new(GT_WEBHOOK_ROTATE);

	op->now_ms = op->key.created_ms = now_ms;
	op->overlap_ms = overlap_ms;
	gt_strcopy(op->key.text, sizeof(op->key.text), text);
	snprintf(op->old, sizeof(op->old), GT_WEBHOOK_NEWEST "/before-%s", text);
	return webhook(w, op);
}

static int end_key(struct world *w, const char *name)
{
	struct gt_webhook_op *op = gt_webhook_op_new(GT_WEBHOOK_DROP);

	gt_strcopy(op->key.name, sizeof(op->key.name), name);
	return webhook(w, op);
}

/* Text and end of each, as the last operation told, and as they are found after a start. */
static void assert_keys(struct world *w, const char *wanted)
{
	struct gt_webhook_keys found;

	for (int i = 0; i < 2; i++) {
		gt_auto(buf) struct gt_buf text = { 0 };

		if (i)
			assert_int_equal(gt_store_webhook_keys(w->store, &found, NULL), 0);
		for (size_t k = 0; k < (i ? found : w->keys).n; k++) {
			const struct gt_webhook_key *key = &(i ? &found : &w->keys)->at[k];

			gt_buf_addf(&text, "%s %lld;", key->text,
				    key->ends_ms ? (long long)(key->ends_ms - NOW) : -1);
		}
		assert_string_equal(gt_buf_str(&text), wanted);
		reopen(w);
	}
}

static void keys_of_webhooks_follow_one_another(void **state)
{
	struct world *w = *state;

	assert_int_equal(gt_store_key_keep(w->store, GT_WEBHOOK_NEWEST, "k0", NOW, NULL), 0);
	assert_int_equal(rotate(w, "k1", NOW + 10, HOUR), 0);
	assert_keys(w, "k1 -1;k0 3600010;");
	assert_int_equal(w->keys.at[1].created_ms, NOW);
	assert_int_equal(rotate(w, "k2", NOW + 20, HOUR), 0);
	assert_int_equal(rotate(w, "k3", NOW + 30, HOUR), 0);
	assert_keys(w, "k3 -1;k2 3600030;k1 3600020;k0 3600010;");
	assert_int_equal(rotate(w, "k4", NOW + 40, HOUR), EBUSY);
	assert_string_equal(w->err.slug, "conflict");
	/* One that everybody knows makes room for its successor. */
	assert_int_equal(rotate(w, "k4", NOW + 40, 0), 0);
	assert_keys(w, "k4 -1;k2 3600030;k1 3600020;k0 3600010;");
	/* What is over makes room. */
	assert_int_equal(rotate(w, "k5", NOW + HOUR + 20, HOUR), 0);
	assert_keys(w, "k5 -1;k4 7200020;k2 3600030;");
	assert_int_equal(end_key(w, GT_WEBHOOK_NEWEST), ENOENT);
	assert_int_equal(end_key(w, "webhook/before-k5"), 0);
	assert_keys(w, "k5 -1;k2 3600030;");
	assert_int_equal(end_key(w, "webhook/before-k5"), ENOENT);
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(a_token_lets_one_node_in_once),
		t(the_same_join_once_more_is_the_same_one),
		t(a_name_that_is_taken_costs_no_token),
		t(a_token_ends_and_may_be_for_one_name),
		t(tokens_are_listed_and_dropped),
		t(old_tokens_make_room),
		t(who_leaves_takes_along_what_was_said_of_it),
		t(a_host_and_its_token_come_and_go_together),
		t(there_is_one_authority),
		t(a_key_is_the_first_one_that_was_kept),
		t(keys_of_webhooks_follow_one_another),
	};

	int failed = cmocka_run_group_tests_name("on SQLite", tests, NULL, NULL);

	if (backend_pg_installed())
		failed += cmocka_run_group_tests_name("on PostgreSQL", tests, backend_pg_begin,
						      backend_pg_end);
	return failed;
}
