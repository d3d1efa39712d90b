#include "check.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/store/backup.h>
#include <gantry/store/store.h>

#include "kind.h"
#include "state_dir.h"

#define LOOK_S 4 /* libpq gives up after 3 for each address, but waits for names without an end */

static int become_control(const struct gt_config *c, struct gt_err *err)
{
	uid_t uid;
	gid_t gid;

	if (gt_kind_ids(c, &uid, &gid, err) < 0)
		return -err->code;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return gt_err_errno(err, errno, "become user %u", (unsigned)uid);
	return 0;
}

static void on_alarm(int sig GT_UNUSED)
{
	static const char text[] = "gantryd: store: PostgreSQL does not answer\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(EXIT_FAILURE);
	_exit(EXIT_FAILURE);
}

static int look(const char *url, const char *token_print, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf says = { 0 };

	signal(SIGALRM, on_alarm);
	alarm(LOOK_S);
	int r = gt_store_look(url, token_print, &says, err);

	alarm(0);
	fputs(gt_buf_str(&says), stdout);
	return r;
}

int gt_check_state(const struct gt_config *c, struct gt_err *err)
{
	char token[GT_SHA256_HEX_SIZE], print[GT_SHA256_HEX_SIZE];
	bool at_home, has_token;

	if (geteuid() != 0)
		return 0;
	at_home = chdir(c->state) == 0;
	if (!c->store[0] && !at_home)
		return 0;
	has_token = at_home && gt_state_token_read(token, sizeof(token), NULL) == 0; /* root's */
	if (has_token)
		gt_state_token_print(token, print);
	/* Its file of passwords, what is made beside the database, and what is in it, are
	 * control's. */
	if (become_control(c, err) < 0)
		return -err->code;
	return c->store[0] ? look(c->store, has_token ? print : NULL, err)
			   : gt_store_readable("control", err);
}
