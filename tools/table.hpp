// Columns of text for a terminal, and figures as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace bulkhead::tools {

/// Without what a terminal would obey: another user may have chosen the name.
[[nodiscard]] std::string printable(std::string text);

/// As wide as its contents. A title that begins with '>' stands right, with what is below it.
class table {
public:
    explicit table(std::vector<std::string> titles) : titles_(std::move(titles)) {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    void print(std::ostream& to) const;

private:
    std::vector<std::string> titles_;
    std::vector<std::vector<std::string>> rows_;
};

/// "512", "1.5K", "8.0M": powers of 1024.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
/// "5s", "12m", "3h", "2d".
[[nodiscard]] std::string age_text(std::chrono::seconds age);

}  // namespace bulkhead::tools
