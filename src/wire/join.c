/* join.c - what a machine says that wants to join, and what an operator says of a token, or of a
 * key of webhooks. */
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/model/spec.h>
#include <gantry/model/webhook.h>
#include <gantry/wire/wire.h>

#include "doc.h"
#include "fields.h"

#define BODY_MAX  (16 * GT_KIB)
#define CSR_MAX   (8 * GT_KIB)
#define TOKEN_MAX (sizeof(((struct gt_join *)0)->token) - 1)

#define JOIN(f) offsetof(struct gt_join, f)
#define ASK(f)  offsetof(struct gt_token_ask, f)
#define NODE_NAME                          \
	.max = GT_NAME_MAX, .ok = node_ok, \
	.wanted = "no name of a node: lower-case letters, digits and '-'"

/* It would stand where the API has its tokens. */
static bool node_ok(const char *name)
{
	return gt_name_ok(name) && !gt_streq(name, "tokens");
}

static const struct gt_field join_rows[] = {
	{ "token", GT_F_CHARS, GT_F_NEEDED, JOIN(token), .max = TOKEN_MAX },
	{ "node", GT_F_CHARS, GT_F_NEEDED, JOIN(node), NODE_NAME },
	{ "csr", GT_F_STR, GT_F_NEEDED, JOIN(csr), .max = CSR_MAX },
};
static const struct gt_field renew_rows[] = {
	{ "csr", GT_F_STR, GT_F_NEEDED, JOIN(csr), .max = CSR_MAX },
};
static const struct gt_field ask_rows[] = {
	{ "ttl", GT_F_DURATION, 0, ASK(ttl_ms), .min = GT_JOIN_TTL_MIN_MS,
	  .max = GT_JOIN_TTL_MAX_MS },
	{ "node", GT_F_CHARS, 0, ASK(node), NODE_NAME },
};
static const struct gt_field overlap_rows[] = {
	{ "overlap", GT_F_DURATION, 0, 0, .max = GT_WEBHOOK_OVERLAP_MAX_MS },
};
/* A node may be newer: what is not known of its words is passed over. */
static const struct gt_fields join_fields = {
	.rows = join_rows, .n = GT_LEN(join_rows), .size = sizeof(struct gt_join), .open = true
};
static const struct gt_fields renew_fields = {
	.rows = renew_rows, .n = GT_LEN(renew_rows), .size = sizeof(struct gt_join), .open = true
};
static const struct gt_fields ask_fields = { .rows = ask_rows,
					     .n = GT_LEN(ask_rows),
					     .size = sizeof(struct gt_token_ask) };

static const struct gt_fields overlap_fields = { .rows = overlap_rows,
						 .n = GT_LEN(overlap_rows),
						 .size = sizeof(uint64_t) };

/* The tables' walker speaks of specifications. */
static int read_body(const struct gt_fields *fields, const char *text, size_t len, void *base,
		     struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	int r = gt_doc_parse(text, len, BODY_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(fields, js, NULL, base, err);
	if (r < 0 && gt_streq(err->slug, "invalid_spec"))
		gt_strcopy(err->slug, sizeof(err->slug), "bad_parameter");
	return r;
}

static int join_read(const struct gt_fields *fields, const char *text, size_t len,
		     struct gt_join *ret, struct gt_err *err)
{
	struct gt_join join = { 0 };
	int r = read_body(fields, text, len, &join, err);

	if (r == 0)
		*ret = join;
	else
		gt_join_fini(&join);
	return r;
}

int gt_join_read(const char *text, size_t len, struct gt_join *ret, struct gt_err *err)
{
	return join_read(&join_fields, text, len, ret, err);
}

int gt_renew_read(const char *text, size_t len, struct gt_join *ret, struct gt_err *err)
{
	return join_read(&renew_fields, text, len, ret, err);
}

void gt_join_fini(struct gt_join *join)
{
	free(join->csr);
	*join = (struct gt_join){ 0 };
}

int gt_token_ask_read(const char *text, size_t len, struct gt_token_ask *ret, struct gt_err *err)
{
	struct gt_token_ask ask = { .ttl_ms = GT_JOIN_TTL_MS };
	int r = read_body(&ask_fields, text, len, &ask, err);

	if (r == 0)
		*ret = ask;
	return r;
}

int gt_webhook_ask_read(const char *text, size_t len, uint64_t *overlap_ms, struct gt_err *err)
{
	uint64_t ms = GT_WEBHOOK_OVERLAP_MS;
	int r = read_body(&overlap_fields, text, len, &ms, err);

	if (r == 0)
		*overlap_ms = ms;
	return r;
}
