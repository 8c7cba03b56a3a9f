// A process that becomes a program again and again: this one. Its environment is so large that it has none
// for much of the time. The first programs say so in the file that is its argument.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

int main(int argc, char** argv) {
    if (argc < 2) {
        (void)std::fputs("restless FILE\n", stderr);
        return 2;
    }
    constexpr int noted = 5;
    constexpr std::size_t variables = 20'000;
    constexpr unsigned lives_at_most_s = 300;
    const int number = argc > 2 ? std::atoi(argv[2]) : 0;
    if (number == 0) ::alarm(lives_at_most_s);  // when nobody else ends it
    if (number < noted) std::ofstream(argv[1], std::ios::app) << ::getpid() << "\n";

    std::vector<char*> environment;
    for (char** at = environ; *at != nullptr; ++at) environment.push_back(*at);
    std::string filler = "RESTLESS=";
    while (environment.size() < variables) environment.push_back(filler.data());
    environment.push_back(nullptr);
    std::string next = std::to_string(number + 1);
    char* const arguments[] = {argv[0], argv[1], next.data(), nullptr};
    ::execve("/proc/self/exe", arguments, environment.data());
    std::perror("restless: exec");
    return 1;
}
