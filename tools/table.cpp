// Lays out tables.
#include "table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ostream>

namespace bulkhead::tools {

std::string printable(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, '?');
    return text;
}

void table::print(std::ostream& to) const {
    std::vector<std::size_t> widths;
    std::vector<bool> stands_right;
    std::vector<std::string> titles;
    for (const auto& title : titles_) {
        stands_right.push_back(title.front() == '>');
        titles.push_back(stands_right.back() ? title.substr(1) : title);
        widths.push_back(titles.back().size());
    }
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i != row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    const auto print_row = [&](const std::vector<std::string>& row) {
        std::string line;
        for (std::size_t i = 0; i != row.size(); ++i) {
            const std::string room(widths[i] - row[i].size(), ' ');
            line += (i == 0 ? "" : "  ") + (stands_right[i] ? room + row[i] : row[i] + room);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        to << printable(line) << '\n';
    };
    print_row(titles);
    for (const auto& row : rows_) print_row(row);
}

std::string bytes_text(std::uint64_t bytes) {
    constexpr std::uint64_t step = 1024;
    if (bytes < step) return std::to_string(bytes);
    constexpr std::array units{'K', 'M', 'G', 'T', 'P', 'E'};
    auto value = static_cast<double>(bytes) / step;
    std::size_t unit = 0;
    while (value >= step && unit + 1 != units.size()) {
        value /= step;
        ++unit;
    }
    char text[32];
    (void)std::snprintf(text, sizeof text, "%.1f%c", value, units[unit]);
    return text;
}

std::string age_text(std::chrono::seconds age) {
    using namespace std::chrono;
    if (age < minutes(2)) return std::to_string(age.count()) + "s";
    if (age < hours(2)) return std::to_string(duration_cast<minutes>(age).count()) + "m";
    if (age < days(2)) return std::to_string(duration_cast<hours>(age).count()) + "h";
    return std::to_string(duration_cast<days>(age).count()) + "d";
}

}  // namespace bulkhead::tools
