/* nft.h - one transaction of nftables: messages are collected, sent at once, and all or none count.
 * The match and verdict calls add to the rule that was begun last. */
#ifndef NET_NFT_H
#define NET_NFT_H

#include <gantry/base/err.h>

#include <gantry/base/cidr.h>

struct gt_nft; /* a netlink socket, with the transaction that is being collected */

int gt_nft_open(struct gt_nft **ret, struct gt_err *err);
void gt_nft_close(struct gt_nft *nft);
/* 1: the table exists; 0: it does not, or this process could not have made one. */
int gt_nft_table_exists(struct gt_nft *nft, const char *table, struct gt_err *err);

void gt_nft_begin(struct gt_nft *nft, const char *table);
/* Sends what was collected: 0 or -errno. */
int gt_nft_commit(struct gt_nft *nft, struct gt_err *err);

/* owned: nobody else may change it while this socket is open, not even by flushing all of nftables;
 * it stays when the socket is closed. Linux 6.9. */
void gt_nft_table_add(struct gt_nft *nft, bool owned);
void gt_nft_table_delete(struct gt_nft *nft);
void gt_nft_chain_add(struct gt_nft *nft, const char *chain);
/* On a hook: packets go on when nothing stops them. type: "filter" or "nat". */
void gt_nft_base_add(struct gt_nft *nft, const char *chain, const char *type, uint32_t hook,
		     int32_t priority);

void gt_nft_rule(struct gt_nft *nft, const char *chain);
void gt_nft_if_in(struct gt_nft *nft, const char *prefix); /* interface names that begin so */
void gt_nft_if_out(struct gt_nft *nft, const char *prefix, bool same);
void gt_nft_from(struct gt_nft *nft, const struct gt_cidr *c);
void gt_nft_to(struct gt_nft *nft, const struct gt_cidr *c);
void gt_nft_protocol(struct gt_nft *nft, uint8_t protocol); /* IPPROTO_* */
void gt_nft_port(struct gt_nft *nft, uint16_t port);        /* destination; after the protocol */
void gt_nft_state(struct gt_nft *nft, uint32_t states);     /* NF_CT_STATE_* bits, any of them */
void gt_nft_spoofed(struct gt_nft *nft); /* its answer would not leave where it came in */
void gt_nft_accept(struct gt_nft *nft);
void gt_nft_drop(struct gt_nft *nft);
void gt_nft_go(struct gt_nft *nft, const char *chain, bool back); /* back: returns after it */
void gt_nft_reject(struct gt_nft *nft, bool reset);               /* reset: of TCP; else by ICMP */
void gt_nft_masquerade(struct gt_nft *nft);

#endif
