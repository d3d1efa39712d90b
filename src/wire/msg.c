/* msg.c - the messages between roles from and to JSON. */
#include <stdlib.h>

#include "doc.h"
#include "msg_fields.h"

#define MSG_BYTES_MAX GT_BUF_MAX_DEFAULT

void gt_line_fini(struct gt_line *l)
{
	for (size_t i = 0; i < l->n_orders; i++)
		gt_order_fini(&l->orders[i]);
	for (size_t i = 0; i < l->n_routes; i++)
		gt_route_fini(&l->routes[i]);
	free(l->orders);
	free(l->routes);
	free(l->tokens);
	free(l->members);
	*l = (struct gt_line){ 0 };
}

/* Which members a line may have is told by its type, so that is read by itself. */
static int line_type(const json_t *js, enum gt_line_type *ret, struct gt_err *err)
{
	const struct gt_field type = gt_line_fields[GT_LINE_PING].rows[0];
	struct gt_fields only_type = { .rows = &type, .n = 1 };
	struct gt_line line = { 0 };

	if (!json_is_object(js))
		return gt_field_refuse_type(NULL, js, "an object", err);
	gt_auto(doc) json_t *small = json_object();

	if (json_object_get(js, type.name))
		json_object_set(small, type.name, json_object_get(js, type.name));
	int r = gt_fields_read(&only_type, small, NULL, &line, err);

	if (r == 0)
		*ret = line.type;
	return r;
}

int gt_line_read(const char *text, size_t len, struct gt_line *ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	struct gt_line line = { 0 };
	enum gt_line_type type = GT_LINE_N;
	int r = gt_doc_parse(text, len, MSG_BYTES_MAX, &js, err);

	if (r == 0)
		r = line_type(js, &type, err);
	if (r == 0)
		r = gt_fields_read(&gt_line_fields[type], js, NULL, &line, err);
	if (r == 0)
		*ret = line;
	else
		gt_line_fini(&line);
	return r;
}

void gt_line_write(const struct gt_line *l, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_fields_write(&gt_line_fields[l->type], &j, NULL, l, NULL, false);
	gt_buf_addc(out, '\n');
}

int gt_report_read(const char *text, size_t len, struct gt_report *ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	struct gt_report report = { 0 };
	int r = gt_doc_parse(text, len, MSG_BYTES_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(&gt_report_fields, js, NULL, &report, err);
	if (r == 0)
		*ret = report;
	else
		gt_report_fini(&report);
	return r;
}

void gt_report_write(const struct gt_report *r, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_fields_write(&gt_report_fields, &j, NULL, r, NULL, false);
}

int gt_demand_read(const char *text, size_t len, struct gt_demand *ret, struct gt_err *err)
{
	gt_auto(doc) json_t *js = NULL;
	struct gt_demand demand = { 0 };
	int r = gt_doc_parse(text, len, MSG_BYTES_MAX, &js, err);

	if (r == 0)
		r = gt_fields_read(&gt_demand_fields, js, NULL, &demand, err);
	if (r == 0)
		*ret = demand;
	else
		gt_demand_fini(&demand);
	return r;
}

void gt_demand_write(const struct gt_demand *d, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_fields_write(&gt_demand_fields, &j, NULL, d, NULL, false);
}
