/* gantry - the command line client of a Gantry daemon. */
#include <signal.h>
#include <unistd.h>

#include "cli.h"

/* Ends at once; the closed connection is what cancels a call or a stream. */
static void on_interrupt(int sig GT_UNUSED)
{
	static const char clear[] = "\r\033[K";

	if (isatty(STDERR_FILENO) && write(STDERR_FILENO, clear, sizeof(clear) - 1) < 0)
		_exit(GT_EXIT_INTERRUPTED);
	_exit(GT_EXIT_INTERRUPTED);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_interrupt };

	sigaction(SIGINT, &sa, NULL);
	return gt_cli_main(argc - 1, argv + 1, stdout, stderr);
}
