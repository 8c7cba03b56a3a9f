// A small process that starts a successor of itself again and again, each in a session of its own; most
// live a moment only. The first say so in the file that is its argument.
#include <cstdio>
#include <fstream>
#include <unistd.h>

int main(int argc, char** argv) {
    if (argc != 2) {
        (void)std::fputs("runaway FILE\n", stderr);
        return 2;
    }
    constexpr int noted = 5;
    for (int generation = 0;; ++generation) {
        if (generation < noted) std::ofstream(argv[1], std::ios::app) << ::getpid() << "\n";
        if (::fork() != 0) ::_exit(0);
        ::setsid();
        constexpr useconds_t step_us = 500;
        ::usleep(static_cast<useconds_t>(generation % 5) * step_us);
    }
}
