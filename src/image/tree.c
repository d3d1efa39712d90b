/* tree.c - a table of nodes, a table of names, and a hash from (directory, name) to names. */
#include "tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>

#define OPAQUE   ".wh..wh..opq"
#define WHITEOUT ".wh."
#define NAME_LEN 255

GT_PRINTF(3, 4)
static int bad(struct gt_err *err, const char *path, const char *fmt, ...)
{
	char why[160], shown[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	gt_strcopy(shown, sizeof(shown), path);
	for (char *c = shown; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return gt_err_set(err, EBADMSG, "image_invalid", "%s: %s", shown, why);
}

/* ---- tables ---- */

static uint32_t hash_of(uint32_t dir, const char *text, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ull ^ dir;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3ull;
	return (uint32_t)(h ^ h >> 32);
}

static void slot_put(struct tree *t, uint32_t name)
{
	const struct tree_name *n = &t->names[name];
	uint32_t i = hash_of(n->dir, n->text, strlen(n->text)) & (t->n_slots - 1);

	while (t->slots[i] != TREE_NONE)
		i = (i + 1) & (t->n_slots - 1);
	t->slots[i] = name;
}

/* Removed names leave their slots only here. */
static void slots_grow(struct tree *t)
{
	t->n_slots *= 2;
	t->slots = gt_grow(t->slots, t->n_slots, sizeof(*t->slots));
	memset(t->slots, 0xff, t->n_slots * sizeof(*t->slots));
	for (uint32_t i = 0; i < t->n_names; i++) {
		if (t->names[i].text)
			slot_put(t, i);
	}
}

static uint32_t find(const struct tree *t, uint32_t dir, const char *text, size_t len)
{
	uint32_t i = hash_of(dir, text, len) & (t->n_slots - 1);

	for (; t->slots[i] != TREE_NONE; i = (i + 1) & (t->n_slots - 1)) {
		const struct tree_name *n = &t->names[t->slots[i]];

		if (n->text && n->dir == dir && strncmp(n->text, text, len) == 0 &&
		    n->text[len] == '\0')
			return t->slots[i];
	}
	return TREE_NONE;
}

static uint32_t node_new(struct tree *t, enum tree_kind kind)
{
	if (t->n_nodes == t->room_nodes) {
		t->room_nodes *= 2;
		t->nodes = gt_grow(t->nodes, t->room_nodes, sizeof(*t->nodes));
		t->first = gt_grow(t->first, t->room_nodes, sizeof(*t->first));
	}
	t->nodes[t->n_nodes] = (struct tree_node){ .kind = kind, .parent = TREE_NONE };
	t->first[t->n_nodes] = TREE_NONE;
	return t->n_nodes++;
}

static void name_add(struct tree *t, uint32_t dir, const char *text, size_t len, uint32_t node)
{
	if (t->n_names == t->room_names) {
		t->room_names *= 2;
		t->names = gt_grow(t->names, t->room_names, sizeof(*t->names));
	}
	if (t->n_names * 2 >= t->n_slots)
		slots_grow(t);
	t->names[t->n_names] = (struct tree_name){ dir, node, t->first[dir],
						   gt_strndup(text, len) };
	t->first[dir] = t->n_names;
	t->nodes[node].names++;
	t->nodes[node].parent = dir;
	slot_put(t, t->n_names++);
}

struct tree *tree_new(uint64_t entries_max)
{
	struct tree *t = gt_alloc(sizeof(*t));

	t->entries_max = entries_max;
	t->room_nodes = t->room_names = 256;
	t->nodes = gt_alloc_array(t->room_nodes, sizeof(*t->nodes));
	t->first = gt_alloc_array(t->room_nodes, sizeof(*t->first));
	t->names = gt_alloc_array(t->room_names, sizeof(*t->names));
	t->n_slots = 512;
	t->slots = gt_alloc_array(t->n_slots, sizeof(*t->slots));
	memset(t->slots, 0xff, t->n_slots * sizeof(*t->slots));
	node_new(t, TREE_DIR);
	t->nodes[0].mode = 0755;
	t->nodes[0].names = 1;
	return t;
}

static void xattrs_free(struct tree_node *n)
{
	for (size_t i = 0; i < n->n_xattrs; i++) {
		free(n->xattrs[i].name);
		free(n->xattrs[i].value);
	}
	free(n->xattrs);
	n->xattrs = NULL;
	n->n_xattrs = 0;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->n_nodes; i++) {
		xattrs_free(&t->nodes[i]);
		free(t->nodes[i].target);
	}
	for (uint32_t i = 0; i < t->n_names; i++)
		free(t->names[i].text);
	free(t->nodes);
	free(t->first);
	free(t->names);
	free(t->slots);
	free(t);
}

/* ---- replacing ---- */

static void unlink_below(struct tree *t, uint32_t dir)
{
	for (uint32_t i = t->first[dir]; i != TREE_NONE; i = t->names[i].next) {
		struct tree_name *n = &t->names[i];

		if (!n->text)
			continue;
		if (t->nodes[n->node].kind == TREE_DIR)
			unlink_below(t, n->node); /* the depth of paths bounds this */
		t->nodes[n->node].names--;
		free(gt_steal(&n->text));
	}
	t->first[dir] = TREE_NONE;
}

static void unlink_name(struct tree *t, uint32_t name)
{
	struct tree_name *n = &t->names[name];
	uint32_t *at = &t->first[n->dir];

	if (t->nodes[n->node].kind == TREE_DIR)
		unlink_below(t, n->node);
	t->nodes[n->node].names--;
	while (*at != name)
		at = &t->names[*at].next;
	*at = n->next;
	free(gt_steal(&n->text));
}

/* ---- paths ---- */

struct place {
	uint32_t dir;
	const char *name;
	size_t len; /* 0: the root itself */
};

static bool is_whiteout(const struct tree *t, uint32_t name)
{
	return t->nodes[t->names[name].node].kind == TREE_WHITEOUT;
}

/* In the place of a whiteout it hides what lower layers have there. */
static uint32_t make_dir(struct tree *t, const struct place *p, uint32_t whiteout)
{
	uint32_t dir = node_new(t, TREE_DIR);

	t->nodes[dir].mode = 0755;
	t->nodes[dir].opaque = whiteout != TREE_NONE;
	if (whiteout != TREE_NONE)
		unlink_name(t, whiteout);
	name_add(t, p->dir, p->name, p->len, dir);
	return dir;
}

/* The directory of the last component; missing ones are made. Nothing is followed: a link in the
 * place of a directory is refused, not resolved. */
static int walk(struct tree *t, const char *path, bool make, struct place *ret, struct gt_err *err)
{
	struct place p = { .dir = 0 };
	const char *at = path;
	unsigned depth = 0;

	if (strlen(path) >= TAR_PATH_MAX)
		return bad(err, path, "the path is too long");
	for (;;) {
		size_t len;
		uint32_t found;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len == 1 && at[0] == '.') {
			at++;
			continue;
		}
		if (len == 2 && at[0] == '.' && at[1] == '.')
			return bad(err, path, "the path leads upwards");
		if (len > NAME_LEN)
			return bad(err, path, "a name is longer than %d bytes", NAME_LEN);
		if (len == 0) {
			*ret = p;
			return 0;
		}
		if (p.len > 0) {
			if (++depth > TREE_DEPTH_MAX)
				return bad(err, path, "the path is deeper than %d directories",
					   TREE_DEPTH_MAX);
			found = find(t, p.dir, p.name, p.len);
			if (found == TREE_NONE && !make)
				return bad(err, path, "there is no such file in the archive");
			if (found == TREE_NONE || (make && is_whiteout(t, found)))
				p.dir = make_dir(t, &p, found);
			else
				p.dir = t->names[found].node;
			if (t->nodes[p.dir].kind != TREE_DIR)
				return bad(err, path,
					   "the path passes through %.*s, which is no directory",
					   (int)GT_MIN(p.len, (size_t)60), p.name);
		}
		p.name = at;
		p.len = len;
		at += len;
	}
}

/* ---- entries ---- */

static bool xattr_wanted(const char *name)
{
	/* Capabilities of files would be rights; trusted and system ones are of the host. */
	return gt_starts_with(name, "user.") && name[5];
}

static void take_attributes(struct tree_node *n, const struct tar_entry *e)
{
	n->mode = e->mode;
	n->uid = e->uid;
	n->gid = e->gid;
	n->mtime_s = e->mtime_s;
	n->mtime_ns = e->mtime_ns;
	xattrs_free(n);
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct tar_xattr *from = &e->xattrs[i];
		struct tar_xattr *to;

		if (!xattr_wanted(from->name))
			continue;
		n->xattrs = gt_grow(n->xattrs, n->n_xattrs + 1, sizeof(*n->xattrs));
		to = &n->xattrs[n->n_xattrs++];
		to->name = gt_strdup(from->name);
		to->value = gt_alloc(from->len + 1);
		memcpy(to->value, from->value, from->len);
		to->len = from->len;
	}
}

static int add_link(struct tree *t, const struct tar_entry *e, const struct place *p,
		    struct gt_err *err)
{
	struct place from;
	uint32_t name, old;
	int r = walk(t, e->target, false, &from, err);

	if (r < 0)
		return gt_err_wrap(err, "hard link %.100s", e->path);
	name = from.len ? find(t, from.dir, from.name, from.len) : TREE_NONE;
	if (name == TREE_NONE)
		return bad(err, e->path, "a hard link to %.80s, which is not in the archive",
			   e->target);
	if (t->nodes[t->names[name].node].kind == TREE_DIR)
		return bad(err, e->path, "a hard link to a directory");
	old = find(t, p->dir, p->name, p->len);
	if (old == name)
		return 0; /* to itself */
	if (old != TREE_NONE)
		unlink_name(t, old);
	name_add(t, p->dir, p->name, p->len, t->names[name].node);
	return 0;
}

static int add_whiteout(struct tree *t, const struct tar_entry *e, const struct place *p,
			struct gt_err *err)
{
	const char *name = p->name + strlen(WHITEOUT);
	size_t len = p->len - strlen(WHITEOUT);
	uint32_t node, old;

	if (p->len == strlen(OPAQUE) && memcmp(p->name, OPAQUE, p->len) == 0) {
		t->nodes[p->dir].opaque = true;
		return 0;
	}
	if (len == 0 || (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))) ||
	    (len >= strlen(WHITEOUT) && memcmp(name, WHITEOUT, strlen(WHITEOUT)) == 0))
		return bad(err, e->path, "a whiteout of nothing");
	/* It hides what lower layers have; what this layer itself has there stays. */
	old = find(t, p->dir, name, len);
	if (old != TREE_NONE) {
		t->nodes[t->names[old].node].opaque = true;
		return 0;
	}
	node = node_new(t, TREE_WHITEOUT);
	name_add(t, p->dir, name, len, node);
	return 0;
}

static enum tree_kind kind_of(enum tar_type type)
{
	static const enum tree_kind kinds[TAR_TYPE_N] = {
		[TAR_FILE] = TREE_FILE,
		[TAR_SYMLINK] = TREE_SYMLINK,
		[TAR_DIR] = TREE_DIR,
		[TAR_FIFO] = TREE_FIFO,
	};

	return kinds[type];
}

static int add_node(struct tree *t, const struct tar_entry *e, const struct place *p,
		    struct gt_err *err)
{
	enum tree_kind kind = kind_of(e->type);
	uint32_t old = find(t, p->dir, p->name, p->len), node;

	if (kind == TREE_SYMLINK && (e->target[0] == '\0' || strlen(e->target) >= TAR_PATH_MAX))
		return bad(err, e->path,
			   "a symbolic link to nothing, or to a path that is too long");
	if (old != TREE_NONE && kind == TREE_DIR && t->nodes[t->names[old].node].kind == TREE_DIR) {
		take_attributes(&t->nodes[t->names[old].node], e);
		return 0;
	}
	bool opaque = old != TREE_NONE && is_whiteout(t, old);

	if (old != TREE_NONE)
		unlink_name(t, old);
	node = node_new(t, kind);
	t->nodes[node].opaque = opaque;
	take_attributes(&t->nodes[node], e);
	t->nodes[node].size = e->size;
	t->nodes[node].offset = e->offset;
	if (kind == TREE_SYMLINK)
		t->nodes[node].target = gt_strdup(e->target);
	name_add(t, p->dir, p->name, p->len, node);
	return 0;
}

int tree_add(struct tree *t, const struct tar_entry *e, struct gt_err *err)
{
	struct place p;
	int r = walk(t, e->path, true, &p, err);

	if (r < 0)
		return r;
	if (t->n_names > t->entries_max || t->n_nodes > t->entries_max)
		return bad(err, e->path, "the archive has more than %llu entries",
			   (unsigned long long)t->entries_max);
	if (p.len == 0) {
		if (e->type != TAR_DIR)
			return bad(err, e->path, "the root is no directory");
		take_attributes(&t->nodes[0], e);
		return 0;
	}
	if (p.len >= strlen(WHITEOUT) && memcmp(p.name, WHITEOUT, strlen(WHITEOUT)) == 0)
		return add_whiteout(t, e, &p, err);
	return e->type == TAR_LINK ? add_link(t, e, &p, err) : add_node(t, e, &p, err);
}

/* ---- reading ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp((*(const struct tree_name *const *)a)->text,
		      (*(const struct tree_name *const *)b)->text);
}

int tree_each(struct tree *t, uint32_t dir, tree_name_fn *fn, void *arg, struct gt_err *err)
{
	gt_auto(free) struct tree_name **list = NULL;
	size_t n = 0, i = 0;
	int r = 0;

	for (uint32_t k = t->first[dir]; k != TREE_NONE; k = t->names[k].next)
		n++;
	list = gt_alloc_array(n + 1, sizeof(struct tree_name *));
	for (uint32_t k = t->first[dir]; k != TREE_NONE; k = t->names[k].next)
		list[i++] = &t->names[k];
	qsort(list, n, sizeof(struct tree_name *), by_text);
	for (i = 0; r == 0 && i < n; i++)
		r = fn(t, list[i]->text, list[i]->node, arg, err);
	return r;
}

uint32_t tree_subdirs(const struct tree *t, uint32_t dir)
{
	uint32_t n = 0;

	for (uint32_t i = t->first[dir]; i != TREE_NONE; i = t->names[i].next)
		n += t->nodes[t->names[i].node].kind == TREE_DIR;
	return n;
}
