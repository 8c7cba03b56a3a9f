// parallel_grep REGEX [PATH...]: prints the lines that match, with their files and numbers, in the order of
// the files. Matching is done in worker processes: a regular expression on which std::regex overflows the
// stack costs one file.
#include <bulkhead/bulkhead.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <string>
#include <vector>

namespace fs = std::filesystem;

std::vector<std::string> matches_in(const fs::path& file, const std::string& pattern) {
    static std::string compiled_from;
    static std::regex compiled;  // once in each worker
    if (pattern != compiled_from) compiled = std::regex(compiled_from = pattern);
    std::ifstream in(file);
    std::vector<std::string> found;
    std::size_t number = 0;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (!std::regex_search(line, compiled)) continue;
        found.push_back(file.string() + ":" + std::to_string(number) + ":" + line);
    }
    return found;
}

std::vector<fs::path> files_below(const fs::path& place) {
    if (!fs::is_directory(place)) return {place};
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(place)) {
        if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc < 2) return (std::cerr << "usage: parallel_grep REGEX [PATH...]\n", 2);
    std::vector<fs::path> files;
    for (int i = 2; i < argc; ++i) std::ranges::copy(files_below(argv[i]), back_inserter(files));
    if (argc == 2) files = files_below(".");
    int code = 1;  // as grep: nothing found
    bulkhead::process_pool pool;
    const std::vector<std::string> patterns(files.size(), argv[1]);
    auto results = pool.map(matches_in, files, patterns);
    std::size_t file = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++file) try {
            for (const auto& line : *it) std::cout << line << '\n', code = 0;
        } catch (const std::exception& failure) {
            std::cerr << "parallel_grep: " << files[file].string() << ": " << failure.what()
                      << '\n';
        }
    return code;
}
