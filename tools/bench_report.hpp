// What bulkhead-bench says: a table for people, JSON for programs.
#pragma once

#include "bench_figure.hpp"

#include <array>
#include <iosfwd>
#include <string>
#include <vector>

namespace bulkhead::tools {

struct measured_contender {
    std::string name;
    std::vector<double> runs{};  // in the order they were made
    bool failed = false;         // and is not measured any more

    [[nodiscard]] double median() const;
    [[nodiscard]] double min() const;
    [[nodiscard]] double max() const;
};

struct measured_figure {
    const figure* what = nullptr;
    std::vector<measured_contender> contenders;

    /// How many times better the first contender is than that one.
    [[nodiscard]] double ratio_to(const measured_contender& other) const;
};

struct machine {
    int cpus = 0;  // that this process may use
    std::string cpu_model;
    std::string kernel;
    std::string compiler;
    bool optimised = false;
    std::string python;  // empty: none
};

[[nodiscard]] machine this_machine();
/// Of the last minute; -1 when unknown.
[[nodiscard]] double load_average();

struct bench_report {
    machine where;
    std::size_t repetitions = 0;
    double run_s = 0;
    double load_before = 0;
    double load_after = 0;
    std::vector<measured_figure> figures;
    std::vector<std::string> not_installed{};  // peers
};

void print_table(std::ostream& out, const bench_report& report);
void print_json(std::ostream& out, const bench_report& report);

}  // namespace bulkhead::tools
