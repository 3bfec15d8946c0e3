/* Leads connections to the loopback addresses of a test suite to addresses of another host, from where they are relayed
 * back: loopback is the agent's own, and its connections to itself never leave it. Loaded with LD_PRELOAD.
 *
 * It changes addresses and nothing else: what is sent over a connection never passes through here. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define ELSEWHERE4 "203.0.113.1"
#define ELSEWHERE6 "2001:db8::1"

static int is_tcp(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* Puts `there` in the place of `here`, when `address` is that. */
static void replace(struct sockaddr_storage *address, const char *here4, const char *there4, const char *here6,
                    const char *there6) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
  struct in_addr from4;
  struct in6_addr from6;
  inet_pton(AF_INET, here4, &from4);
  inet_pton(AF_INET6, here6, &from6);
  if (address->ss_family == AF_INET && v4->sin_addr.s_addr == from4.s_addr) {
    inet_pton(AF_INET, there4, &v4->sin_addr);
  } else if (address->ss_family == AF_INET6 && memcmp(&v6->sin6_addr, &from6, sizeof from6) == 0) {
    inet_pton(AF_INET6, there6, &v6->sin6_addr);
  }
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  struct sockaddr_storage copy = {0};
  if (address == NULL || length > sizeof copy || !is_tcp(fd)) {
    return real(fd, address, length);
  }
  memcpy(&copy, address, length);
  replace(&copy, "127.0.0.1", ELSEWHERE4, "::1", ELSEWHERE6);
  return real(fd, (struct sockaddr *)&copy, length);
}

int getpeername(int fd, struct sockaddr *address, socklen_t *length) {
  int (*real)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "getpeername");
  struct sockaddr_storage copy = {0};
  socklen_t room = sizeof copy;
  if (address == NULL || length == NULL) {
    return real(fd, address, length);
  }
  int result = real(fd, (struct sockaddr *)&copy, &room);
  if (result != 0) {
    return result;
  }
  replace(&copy, ELSEWHERE4, "127.0.0.1", ELSEWHERE6, "::1");
  memcpy(address, &copy, *length < room ? *length : room);
  *length = room;
  return 0;
}
