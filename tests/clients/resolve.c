/* Resolves each name it is given as programs do, and says the first address or that there is none. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **names)
{
    for (int i = 1; i < count; i++) {
        struct addrinfo hints, *found;
        char text[INET6_ADDRSTRLEN] = "none";
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        if (getaddrinfo(names[i], "443", &hints, &found) == 0) {
            struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
            if (found->ai_family == AF_INET)
                inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
            freeaddrinfo(found);
        }
        puts(text);
    }
    return 0;
}
