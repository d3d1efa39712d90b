/* replay.c - the inputs of a recorded run through the same rules, from states that are all new. */
#include <gantry/sim/replay.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include <gantry/scale/learned.h>
#include <gantry/scale/record.h>
#include <gantry/sim/table.h>

#define COLUMNS_MAX    64
#define PROGRESS_EVERY 65536
#define READ_SIZE      65536

struct replayed {
	struct gt_scale *scale;
	struct gt_scale_shadow *shadow; /* NULL: no candidate */
	UT_hash_handle hh;
	char name[];
};

struct replay {
	struct gt_csv *csv;
	size_t function, event, at[COLUMNS_MAX];
	struct gt_scale_pool *pool, *shadow_pool;
	const struct gt_scale_candidate *candidate;
	struct replayed *functions;
	bool learned; /* states were read */
	struct gt_replay *ret;
};

static int columns_find(struct replay *r, struct gt_err *err)
{
	_Static_assert(COLUMNS_MAX <= GT_TABLE_COLUMNS_MAX, "a heading can hold them");
	if (gt_csv_column(r->csv, "function", &r->function, err) < 0 ||
	    gt_csv_column(r->csv, "event", &r->event, err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < gt_scale_columns_n && i < COLUMNS_MAX; i++)
		if (gt_csv_column(r->csv, gt_scale_columns[i].name, &r->at[i], err) < 0)
			return -EINVAL;
	return 0;
}

static int rule_parse(const char *name, enum gt_scale_rule *ret)
{
	for (unsigned i = 0; i < GT_SCALE_RULES; i++) {
		if (strcmp(gt_scale_rule_name((enum gt_scale_rule)i), name) != 0)
			continue;
		*ret = (enum gt_scale_rule)i;
		return 0;
	}
	return -ENOENT;
}

static int cell_read(struct replay *r, size_t i, void *to, struct gt_err *err)
{
	size_t column = r->at[i];
	uint64_t n = 0;

	switch (gt_scale_columns[i].type) {
	case GT_SCALE_COLUMN_U32:
		if (gt_csv_u64(r->csv, column, UINT32_MAX, &n, err) < 0)
			return -EINVAL;
		*(uint32_t *)to = (uint32_t)n;
		return 0;
	case GT_SCALE_COLUMN_U64:
		return gt_csv_u64(r->csv, column, UINT64_MAX, to, err);
	case GT_SCALE_COLUMN_BOOL:
		if (gt_csv_u64(r->csv, column, 1, &n, err) < 0)
			return -EINVAL;
		*(bool *)to = n == 1;
		return 0;
	case GT_SCALE_COLUMN_DOUBLE:
		return gt_csv_double(r->csv, column, 1e300, to, err);
	case GT_SCALE_COLUMN_POLICY:
		if (gt_scale_policy_parse(gt_csv_text(r->csv, column), to) < 0)
			return gt_csv_bad(r->csv, column, err, "'%.40s' is no policy",
					  gt_csv_text(r->csv, column));
		return 0;
	case GT_SCALE_COLUMN_RULE:
		if (rule_parse(gt_csv_text(r->csv, column), to) < 0)
			return gt_csv_bad(r->csv, column, err, "'%.40s' is no rule",
					  gt_csv_text(r->csv, column));
		return 0;
	}
	return -EINVAL;
}

static int row_read(struct replay *r, struct gt_scale_in *in, struct gt_scale_out *out,
		    struct gt_err *err)
{
	for (size_t i = 0; i < gt_scale_columns_n; i++) {
		const struct gt_scale_column *c = &gt_scale_columns[i];
		char *of = c->out ? (char *)out : (char *)in;

		if (cell_read(r, i, of + c->offset, err) < 0)
			return -EINVAL;
	}
	if (in->params.min > in->params.max)
		return gt_csv_bad(r->csv, r->at[0], err, "min %u is above max %u", in->params.min,
				  in->params.max);
	return 0;
}

static struct replayed *function_get(struct replay *r, const char *name)
{
	size_t len = strlen(name);
	struct replayed *f;

	HASH_FIND_STR(r->functions, name, f);
	if (f)
		return f;
	f = gt_alloc(sizeof(*f) + len + 1);
	memcpy(f->name, name, len + 1);
	f->scale = gt_scale_new();
	if (r->candidate)
		f->shadow = gt_scale_shadow_new(r->candidate);
	HASH_ADD_STR(r->functions, name, f);
	r->ret->functions++;
	return f;
}

static void function_end(struct replay *r, struct replayed *f)
{
	if (f->shadow) {
		struct gt_scale_bill live, candidate;

		gt_scale_shadow_bills(f->shadow, &live, &candidate);
		gt_scale_bill_add(&r->ret->live, &live);
		gt_scale_bill_add(&r->ret->candidate, &candidate);
	}
	HASH_DEL(r->functions, f);
	gt_scale_shadow_free(f->shadow);
	gt_scale_free(f->scale);
	free(f);
}

static bool same(const struct gt_scale_out *a, const struct gt_scale_out *b)
{
	return a->need == b->need && a->wanted == b->wanted && a->due_ns == b->due_ns &&
	       a->need_rule == b->need_rule && a->wanted_rule == b->wanted_rule &&
	       a->load == b->load && a->start_s == b->start_s;
}

static void compare(struct replay *r, const char *function, const struct gt_scale_out *was,
		    const struct gt_scale_out *is)
{
	struct gt_replay *ret = r->ret;

	ret->decisions++;
	if (same(was, is) || ret->differing++ > 0)
		return;
	snprintf(
		ret->first, sizeof(ret->first),
		"line %llu: %.63s: recorded need %u by %s, wanted %u by %s; now %u by %s, %u by %s",
		(unsigned long long)gt_csv_line(r->csv), function, was->need,
		gt_scale_rule_name(was->need_rule), was->wanted,
		gt_scale_rule_name(was->wanted_rule), is->need, gt_scale_rule_name(is->need_rule),
		is->wanted, gt_scale_rule_name(is->wanted_rule));
}

static void state_take(const struct gt_learned_function *l, void *arg)
{
	struct replayed *f = function_get(arg, l->name);

	gt_scale_free(f->scale);
	f->scale = l->scale;
}

/* Its clock is that of the record: no time passes. */
static int states_read(struct replay *r, const char *path, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf b = { .max = GT_LEARNED_BYTES_MAX };
	struct gt_learned_head head;
	gt_auto(file) FILE *in = NULL;
	size_t n = 1;

	if (!path) {
		r->pool = gt_scale_pool_new();
		return 0;
	}
	in = fopen(path, "re");
	if (!in)
		return gt_err_errno(err, errno, "%s", path);
	while (n > 0) {
		char *to = gt_buf_reserve(&b, READ_SIZE);

		if (!to)
			return gt_err_set(err, EINVAL, "invalid_state", "%s: too large", path);
		n = fread(to, 1, READ_SIZE, in);
		b.len += n;
	}
	if (gt_learned_head_read(gt_buf_str(&b), b.len, &head, err) < 0 ||
	    gt_learned_read(gt_buf_str(&b), b.len, head.now_ns, 0, state_take, r, &r->pool, err) <
		    0)
		return gt_err_wrap(err, "%s", path);
	r->learned = true;
	return 0;
}

static int row_replay(struct replay *r, struct gt_err *err)
{
	const char *function = gt_csv_text(r->csv, r->function);
	const char *event = gt_csv_text(r->csv, r->event);
	struct gt_scale_out was = { 0 }, is;
	struct gt_scale_in in = { 0 };
	struct replayed *f;

	if (!function[0])
		return gt_csv_bad(r->csv, r->function, err, "a name is missing");
	if (strcmp(event, GT_SCALE_EVENT_LEARNED) == 0) {
		if (!r->learned)
			return gt_csv_bad(r->csv, r->event, err,
					  "it goes on from what was learned before: give the file "
					  "decisions.learned beside it, too");
		return 0;
	}
	f = function_get(r, function);
	if (strcmp(event, GT_SCALE_EVENT_GONE) == 0) {
		function_end(r, f);
		return 0;
	}
	if (strcmp(event, GT_SCALE_EVENT_DECIDE) != 0)
		return gt_csv_bad(r->csv, r->event, err, "'%.40s' is neither %s nor %s", event,
				  GT_SCALE_EVENT_DECIDE, GT_SCALE_EVENT_GONE);
	if (row_read(r, &in, &was, err) < 0)
		return -EINVAL;
	gt_scale_decide(f->scale, r->pool, &in, &is);
	compare(r, function, &was, &is);
	if (f->shadow)
		gt_scale_shadow_feed(f->shadow, r->shadow_pool, &in, &is);
	return 0;
}

static int rows_replay(struct replay *r, void (*on_progress)(uint64_t rows, void *arg), void *arg,
		       struct gt_err *err)
{
	int rc = columns_find(r, err);

	while (rc == 0 && (rc = gt_csv_next(r->csv, err)) > 0) {
		rc = row_replay(r, err);
		if (on_progress && gt_csv_rows(r->csv) % PROGRESS_EVERY == 0)
			on_progress(gt_csv_rows(r->csv), arg);
	}
	return rc;
}

int gt_replay_run(const char *file, const char *learned, const struct gt_scale_candidate *candidate,
		  void (*on_progress)(uint64_t rows, void *arg), void *arg, struct gt_replay *ret,
		  struct gt_err *err)
{
	struct replay r = { .candidate = candidate && candidate->on ? candidate : NULL,
			    .ret = ret };
	struct replayed *f, *next;
	int rc;

	*ret = (struct gt_replay){ 0 };
	rc = gt_csv_open(file, &r.csv, err);
	if (rc < 0)
		return rc;
	r.shadow_pool = gt_scale_pool_new();
	rc = states_read(&r, learned, err);
	if (rc == 0)
		rc = rows_replay(&r, on_progress, arg, err);
	ret->hash = gt_csv_hash(r.csv);
	HASH_ITER (hh, r.functions, f, next)
		function_end(&r, f);
	gt_scale_pool_free(r.pool);
	gt_scale_pool_free(r.shadow_pool);
	gt_csv_free(r.csv);
	return rc;
}
