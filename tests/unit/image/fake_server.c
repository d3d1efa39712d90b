/* fake_server.c - the scripted server of the http room's tests, for the tests here. */
#include "../http/fake_server.c"
