/* record.c - one table says what a row holds, for who writes it and who reads it. */
#include <gantry/scale/record.h>

#include <stddef.h>

#define IN(type, name, member)                                                            \
	{                                                                                 \
		name, GT_SCALE_COLUMN_##type, false, offsetof(struct gt_scale_in, member) \
	}
#define OUT(type, name)                                                                  \
	{                                                                                \
#name, GT_SCALE_COLUMN_##type, true, offsetof(struct gt_scale_out, name) \
	}

const struct gt_scale_column gt_scale_columns[] = {
	IN(U64, "now_ns", now_ns),
	IN(POLICY, "policy", params.policy),
	IN(U32, "target", params.target),
	IN(U32, "min", params.min),
	IN(U32, "max", params.max),
	IN(U32, "buffer", params.buffer),
	IN(BOOL, "idle_stated", params.idle_stated),
	IN(U64, "idle_ms", params.idle_ms),
	IN(DOUBLE, "price", params.price),
	IN(U32, "in_flight", in_flight),
	IN(U32, "queued", queued),
	IN(U32, "booked", booked),
	IN(U64, "oldest_wait_ns", oldest_wait_ns),
	IN(U32, "ready", ready),
	IN(U32, "starting", starting),
	IN(U32, "arrivals", arrivals),
	IN(U32, "completions", completions),
	IN(U64, "service_ns", service_ns),
	IN(U32, "starts", starts),
	IN(U64, "start_ns", start_ns),
	IN(U32, "renew", renew),
	OUT(U32, need),
	OUT(U32, wanted),
	OUT(U64, due_ns),
	OUT(RULE, need_rule),
	OUT(RULE, wanted_rule),
	OUT(DOUBLE, load),
	OUT(DOUBLE, start_s),
};
const size_t gt_scale_columns_n = GT_LEN(gt_scale_columns);

void gt_scale_record_heading(struct gt_buf *out)
{
	gt_buf_adds(out, "function,event");
	for (size_t i = 0; i < gt_scale_columns_n; i++)
		gt_buf_addf(out, ",%s", gt_scale_columns[i].name);
	gt_buf_adds(out, "\n");
}

static void add_cell(struct gt_buf *out, enum gt_scale_column_type type, const void *at)
{
	switch (type) {
	case GT_SCALE_COLUMN_U32:
		gt_buf_addf(out, ",%u", *(const uint32_t *)at);
		break;
	case GT_SCALE_COLUMN_U64:
		gt_buf_addf(out, ",%llu", *(const unsigned long long *)at);
		break;
	case GT_SCALE_COLUMN_BOOL:
		gt_buf_addf(out, ",%d", *(const bool *)at);
		break;
	case GT_SCALE_COLUMN_DOUBLE:
		gt_buf_addf(out, ",%.17g", *(const double *)at);
		break;
	case GT_SCALE_COLUMN_POLICY:
		gt_buf_addf(out, ",%s", gt_scale_policy_name(*(const enum gt_scale_policy *)at));
		break;
	case GT_SCALE_COLUMN_RULE:
		gt_buf_addf(out, ",%s", gt_scale_rule_name(*(const enum gt_scale_rule *)at));
		break;
	}
}

static void row_empty(struct gt_buf *out, const char *function, const char *event)
{
	gt_buf_addf(out, "%s,%s", function, event);
	for (size_t i = 0; i < gt_scale_columns_n; i++)
		gt_buf_adds(out, ",");
	gt_buf_adds(out, "\n");
}

void gt_scale_record_learned(struct gt_buf *out)
{
	row_empty(out, GT_SCALE_RECORD_NOBODY, GT_SCALE_EVENT_LEARNED);
}

void gt_scale_record_row(struct gt_buf *out, const char *function, const struct gt_scale_in *in,
			 const struct gt_scale_out *decided)
{
	if (!in) {
		row_empty(out, function, GT_SCALE_EVENT_GONE);
		return;
	}
	gt_buf_addf(out, "%s,%s", function, GT_SCALE_EVENT_DECIDE);
	for (size_t i = 0; i < gt_scale_columns_n; i++) {
		const struct gt_scale_column *c = &gt_scale_columns[i];
		const void *of = c->out ? (const void *)decided : (const void *)in;

		add_cell(out, c->type, (const char *)of + c->offset);
	}
	gt_buf_adds(out, "\n");
}
