#include "webhook_key.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/log.h>

#define FILE_PATH "control/webhook.key"
#define NAME      "webhook"
#define LEN       (GT_WEBHOOK_KEY_SIZE - 1)

static bool is_key(const char *text)
{
	return strlen(text) == LEN && text[strspn(text, "0123456789abcdef")] == '\0';
}

static int stored(struct gt_store *store, char ret[GT_WEBHOOK_KEY_SIZE], struct gt_err *err)
{
	gt_auto(buf) struct gt_buf key = { 0 };
	int r = gt_store_key(store, NAME, &key, err);

	if (r < 0)
		return r;
	if (!is_key(gt_buf_str(&key)))
		return gt_err_set(err, EINVAL, "internal", "the key in the store is none");
	gt_strcopy(ret, GT_WEBHOOK_KEY_SIZE, gt_buf_str(&key));
	return 0;
}

static void make(char ret[GT_WEBHOOK_KEY_SIZE])
{
	unsigned char bytes[LEN / 2];

	gt_rand_system.fill(gt_rand_system.arg, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static int copy(int fd, const char *key, struct gt_err *err)
{
	if (pwrite(fd, key, LEN, 0) != LEN || ftruncate(fd, LEN) < 0 || fsync(fd) < 0)
		return gt_err_errno(err, errno, "%s", FILE_PATH);
	return 0;
}

static int open_key(struct gt_store *store, char ret[GT_WEBHOOK_KEY_SIZE], struct gt_err *err)
{
	gt_auto(fd) int fd = open(FILE_PATH, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	char text[GT_WEBHOOK_KEY_SIZE + 2] = "";
	bool was;
	int r;

	if (fd < 0)
		return gt_err_errno(err, errno, "%s", FILE_PATH);
	if (read(fd, text, sizeof(text) - 1) < 0)
		return gt_err_errno(err, errno, "%s", FILE_PATH);
	text[strcspn(text, "\r\n")] = '\0';
	was = is_key(text);
	r = stored(store, ret, err);
	if (r == -ENOENT) {
		if (!was)
			make(text);
		r = gt_store_key_keep(store, NAME, text, err);
		if (r == 0)
			r = stored(store, ret, err);
	}
	if (r < 0)
		return r;
	if (was && gt_streq(text, ret))
		return 0;
	if (was)
		gt_warn("%s had another key than the store, which is what signs", FILE_PATH);
	return copy(fd, ret, err);
}

int gt_webhook_key_open(struct gt_store *store, char ret[GT_WEBHOOK_KEY_SIZE], struct gt_err *err)
{
	int r = open_key(store, ret, err);

	return r < 0 ? gt_err_wrap(err, "the key of webhooks") : 0;
}
