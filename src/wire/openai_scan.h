/* openai_scan.h - the two readers behind wire/openai.h: one of JSON, one of forms. Each takes bytes
 * as they come and stops at the first mistake. */
#ifndef GANTRY_WIRE_OPENAI_SCAN_H
#define GANTRY_WIRE_OPENAI_SCAN_H

#include <gantry/wire/openai.h>

/* The first mistake. */
struct gt_openai_fault {
	const char *why; /* NULL = none */
	const char *slug;
	bool model;  /* it is about the model's value, not about the body's form */
	uint64_t at; /* byte of the body, from 0 */
};

/* The value of `model` on its way into ask->model. */
struct gt_openai_name {
	char text[GT_MODEL_NAME_MAX + 1];
	size_t len;   /* past GT_MODEL_NAME_MAX: too long */
	bool foreign; /* a character that no name has */
};

struct gt_openai_json {
	uint8_t expect; /* what the next byte may be */
	uint8_t member; /* of the outermost object: whose value is read */
	uint8_t role;   /* of the string that is read */
	bool had_model, had_stream;
	bool hashing;
	uint8_t hex_left;
	uint16_t code;                          /* of \uXXXX so far */
	uint8_t utf8_left, utf8_low, utf8_high; /* bounds of the next byte of a character */
	const char *word;                       /* what is left of true, false or null */
	bool is_true;
	char key[12];
	uint8_t key_len; /* past the longest known key: another one */
	uint32_t depth;
	uint64_t objects[GT_OPENAI_DEPTH_MAX / 64]; /* bit per open bracket: it is a { */
};

#define GT_FORM_BOUNDARY_MAX 70
#define GT_FORM_LINE_MAX     1024
#define GT_FORM_LINES_MAX    16 /* headers of a part */

struct gt_openai_form {
	uint8_t expect;
	char delimiter[GT_FORM_BOUNDARY_MAX + 4]; /* CRLF "--" boundary */
	size_t delimiter_len;
	size_t matched; /* of the delimiter, by the last bytes of a part's body */
	char line[GT_FORM_LINE_MAX];
	size_t line_len;
	unsigned n_lines;
	bool had_disposition;
	uint8_t field; /* which one the part is */
	bool had_model, had_stream;
	char value[8]; /* of `stream` */
	size_t value_len;
};

struct gt_openai_scan {
	struct gt_openai_ask ask;
	struct gt_openai_fault fault;
	struct gt_openai_name name;
	struct gt_prompt_hash {
		uint64_t state, word;
		uint32_t in_block; /* bytes since the last tap */
	} hash;
	uint64_t fed; /* bytes of earlier feeds */
	bool is_form;
	union {
		struct gt_openai_json json;
		struct gt_openai_form form;
	};
};

/* Each returns false after s->fault was set. */
bool gt_openai_json_feed(struct gt_openai_scan *s, const char *data, size_t len);
bool gt_openai_json_end(struct gt_openai_scan *s);
bool gt_openai_form_begin(struct gt_openai_scan *s, const char *content_type, size_t len);
bool gt_openai_form_feed(struct gt_openai_scan *s, const char *data, size_t len);
bool gt_openai_form_end(struct gt_openai_scan *s);

bool gt_openai_fault(struct gt_openai_scan *s, const char *slug, uint64_t at, const char *why);
void gt_openai_name_add(struct gt_openai_name *n, unsigned char c);
bool gt_openai_name_take(struct gt_openai_scan *s, uint64_t at);

void gt_prompt_add(struct gt_openai_scan *s, const char *data, size_t len);

#endif
