/* image.c - the image record as a table. */
#include <gantry/wire/image.h>

#include <string.h>

#include <gantry/model/limits.h>

#include "doc.h"
#include "fields.h"

#define ROWS(array) .rows = (array), .n = GT_LEN(array)
#define DIGEST      .max = GT_REF_DIGEST_SIZE - 1, .ok = digest_ok, .wanted = "no sha256 digest"
#define AT(member)  .offset = offsetof(struct gt_image_record, member)
#define LIST(member)                                        \
	.offset = offsetof(struct gt_image_record, member), \
	.count_offset = offsetof(struct gt_image_record, n_##member)

static bool digest_ok(const char *text)
{
	return text[0] == '\0' || gt_digest_ok(text);
}

static const struct gt_field layer_rows[] = {
	{ "diff_id", GT_F_CHARS, GT_F_NEEDED, offsetof(struct gt_image_layer, diff_id), DIGEST },
	{ "digest", GT_F_CHARS, 0, offsetof(struct gt_image_layer, digest), DIGEST },
	{ "download_bytes", GT_F_U64, 0, offsetof(struct gt_image_layer, download_bytes),
	  .max = UINT64_MAX },
};
static const struct gt_fields layer_fields = { ROWS(layer_rows),
					       .size = sizeof(struct gt_image_layer),
					       .open = true };

static const struct gt_field record_rows[] = {
	{ "digest", GT_F_CHARS, GT_F_NEEDED, AT(digest), DIGEST },
	{ "index", GT_F_CHARS, 0, AT(index), DIGEST },
	{ "name", GT_F_STR, 0, AT(name), .max = GT_REF_TEXT_SIZE },
	{ "pulled_ms", GT_F_U64, 0, AT(pulled_ms), .max = UINT64_MAX },
	{ "entrypoint", GT_F_STRS, 0, LIST(entrypoint), .max = GT_COMMAND_MAX,
	  .elem_max = GT_TEXT_MAX },
	{ "cmd", GT_F_STRS, 0, LIST(cmd), .max = GT_COMMAND_MAX, .elem_max = GT_TEXT_MAX },
	{ "env", GT_F_STRS, 0, LIST(env), .max = GT_ENV_MAX,
	  .elem_max = GT_TEXT_MAX + 1 + GT_ENV_VALUE_MAX }, /* as in the image's config */
	{ "user", GT_F_STR, 0, AT(user), .max = GT_TEXT_MAX },
	{ "workdir", GT_F_STR, 0, AT(workdir), .max = GT_TEXT_MAX },
	{ "stop_signal", GT_F_STR, 0, AT(stop_signal), .max = 32 },
	{ "port", GT_F_U16, 0, AT(port), .max = UINT16_MAX },
	{ "layers", GT_F_LIST, GT_F_ALWAYS, LIST(layers), .max = GT_IMAGE_LAYERS_MAX,
	  .sub = &layer_fields },
};
static const struct gt_fields record_fields = { ROWS(record_rows),
						.size = sizeof(struct gt_image_record),
						.open = true };

int gt_image_record_read(const char *text, size_t len, struct gt_image_record **ret,
			 struct gt_err *err)
{
	gt_auto(image_record) struct gt_image_record *r = gt_alloc(sizeof(*r));
	gt_auto(doc) json_t *js = NULL;
	int res = gt_doc_parse(text, len, GT_IMAGE_RECORD_MAX, &js, err);

	if (res == 0)
		res = gt_fields_read(&record_fields, js, NULL, r, err);
	if (res < 0)
		return res;
	*ret = gt_steal(&r);
	return 0;
}

void gt_image_record_write(const struct gt_image_record *r, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_fields_write(&record_fields, &j, NULL, r, NULL, false);
}

void gt_pull_progress_write(struct gt_json *j, const char *name,
			    const struct gt_pull_progress *pull)
{
	gt_json_object(j, name);
	gt_json_u64(j, "bytes", pull->done_bytes);
	gt_json_u64(j, "bytes_total", pull->total_bytes);
	gt_json_u64(j, "layers", pull->done_layers);
	gt_json_u64(j, "layers_total", pull->total_layers);
	gt_json_close(j, '}');
}
