/* daemon/notify.h - the service manager's protocol (sd_notify): one datagram to $NOTIFY_SOCKET. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* "READY=1\nSTATUS=...": no effect without a service manager; failures are ignored on purpose. */
void gt_notify(const char *text);

#endif
