/* erofs_layout.c - where everything goes, before a byte is written: directories name their files by
 * place. */
#include "erofs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

size_t gt_erofs_xattr_bytes(const struct gt_tree_inode *i)
{
	size_t sum = i->xattrs ? 12 : 0;

	for (const struct gt_tree_xattr *x = i->xattrs; x; x = x->next) {
		size_t name = strlen(strchr(x->name, '.') + 1);

		sum += (4 + name + x->len + 3) & ~(size_t)3;
	}
	return sum;
}

bool gt_erofs_next(struct gt_erofs_cursor *c, struct gt_erofs_name *ret)
{
	static const char *const dots[] = { ".", ".." };
	const struct gt_tree_inode *dir = c->dir;
	const struct gt_tree_name *n = c->next < dir->n_names ? dir->names[c->next] : NULL;

	/* Names like "!" and "-" sort before and after them. */
	if (c->dots < 2 && (!n || strcmp(dots[c->dots], n->name) < 0)) {
		*ret = (struct gt_erofs_name){ dots[c->dots], c->dots ? dir->parent : dir };
		c->dots++;
		return true;
	}
	if (!n)
		return false;
	*ret = (struct gt_erofs_name){ n->name, n->inode };
	c->next++;
	return true;
}

unsigned gt_erofs_block_names(struct gt_erofs_cursor *c, struct gt_erofs_name *names, size_t *bytes)
{
	struct gt_erofs_cursor before = *c;
	struct gt_erofs_name name;
	size_t sum = 0;
	unsigned n = 0;

	while (gt_erofs_next(c, &name)) {
		size_t len = EROFS_DIRENT + strlen(name.name);

		if (sum + len > EROFS_BLOCK) {
			*c = before;
			break;
		}
		sum += len;
		names[n++] = name;
		before = *c;
	}
	*bytes = sum;
	return n;
}

static void measure_dir(struct gt_tree_inode *dir)
{
	struct gt_erofs_cursor c = { .dir = dir };
	struct gt_erofs_name names[EROFS_BLOCK_NAMES];
	size_t bytes, last = 0;
	uint64_t blocks = 0;

	while (gt_erofs_block_names(&c, names, &bytes) > 0) {
		blocks++;
		last = bytes;
	}
	dir->size = (blocks - 1) * EROFS_BLOCK + last; /* "." is always there */
}

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* Content beside the inode must lie in one block with it, and end in a NUL there: the kernel looks
 * for one behind the last name of a directory. */
static void place(struct gt_tree_inode *i, struct gt_erofs_layout *l)
{
	uint64_t head = EROFS_INODE_BYTES + gt_erofs_xattr_bytes(i), len = head;
	bool beside = false;

	if (S_ISREG(i->mode)) {
		if (i->size)
			len = round_up(head, 8) + 8;
	} else if (i->size && head + i->size + 1 <= EROFS_BLOCK) {
		beside = true;
		len = head + i->size + 1;
	}
	uint64_t at = round_up(l->inodes_end, EROFS_SLOT);
	uint64_t together = beside ? len : EROFS_INODE_BYTES;

	if (at % EROFS_BLOCK + together > EROFS_BLOCK)
		at = round_up(at, EROFS_BLOCK);
	i->place = at;
	i->data_at = beside ? at + head : 0;
	l->inodes_end = at + len;
}

/* Files follow their directory in a row: who lists one looks at all of them. */
static void visit(struct gt_tree_inode *i, struct gt_erofs_layout *l)
{
	if (i->seen)
		return;
	i->seen = true;
	if (S_ISDIR(i->mode))
		measure_dir(i);
	place(i, l);
	l->inodes[l->n++] = i;
}

int gt_erofs_layout(struct gt_tree *t, struct gt_erofs_layout *ret, struct gt_err *err)
{
	struct gt_erofs_layout l = { .inodes_end = EROFS_FIRST_INODE };

	l.inodes = calloc(t->entries + 1, sizeof(struct gt_tree_inode *));
	if (!l.inodes)
		return gt_err_errno(err, ENOMEM, "the index of a layer");
	visit(t->root, &l);
	for (size_t at = 0; at < l.n; at++)
		for (uint32_t k = 0; k < l.inodes[at]->n_names; k++)
			visit(l.inodes[at]->names[k]->inode, &l);
	l.end = round_up(l.inodes_end, EROFS_BLOCK);
	for (size_t at = 0; at < l.n; at++) {
		struct gt_tree_inode *i = l.inodes[at];

		if (S_ISREG(i->mode) || !i->size || i->data_at)
			continue;
		i->data_at = l.end;
		l.end += round_up(i->size, EROFS_BLOCK);
	}
	*ret = l;
	return 0;
}
