// The machine's description, the table and the JSON.
#include "bench_report.hpp"

#include <boost/json.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <ostream>
#include <sched.h>
#include <sys/utsname.h>

namespace bulkhead::tools {
namespace {

std::string cpu_model() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        const auto colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(colon + 2);
        }
    }
    return "unknown CPU";
}

/// 3 to 4 digits that matter, with commas: 1,234,000 or 327 or 0.34.
std::string readable(double value) {
    std::array<char, 64> text;
    if (value < 100) {
        std::snprintf(text.data(), text.size(), "%.*f", value < 10 ? 2 : 1, value);
        return text.data();
    }
    const double digits = std::floor(std::log10(value)) + 1;
    const double unit = std::pow(10.0, std::max(0.0, digits - 4));
    std::snprintf(text.data(), text.size(), "%.0f", std::round(value / unit) * unit);
    std::string number = text.data();
    for (std::size_t i = number.size(); i > 3; i -= 3) number.insert(i - 3, 1, ',');
    return number;
}

std::string times(double ratio) { return readable(ratio) + " x"; }

}  // namespace

double measured_contender::median() const {
    std::vector<double> sorted = runs;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
double measured_contender::min() const { return *std::min_element(runs.begin(), runs.end()); }
double measured_contender::max() const { return *std::max_element(runs.begin(), runs.end()); }

double measured_figure::ratio_to(const measured_contender& other) const {
    const double ours = contenders.front().median();
    return what->more_is_better ? ours / other.median() : other.median() / ours;
}

machine this_machine() {
    machine here;
    cpu_set_t usable;
    CPU_ZERO(&usable);
    if (::sched_getaffinity(0, sizeof usable, &usable) == 0) here.cpus = CPU_COUNT(&usable);
    here.cpu_model = cpu_model();
    utsname names{};
    if (::uname(&names) == 0) {
        here.kernel = std::string(names.sysname) + ' ' + names.release + ' ' + names.machine;
    }
#if defined(__clang__)
    here.compiler = __VERSION__;
#else
    here.compiler = "GCC " __VERSION__;
#endif
#if defined(__OPTIMIZE__)
    here.optimised = true;
#endif
    return here;
}

double load_average() {
    double load = 0;
    return ::getloadavg(&load, 1) == 1 ? load : -1;
}

void print_table(std::ostream& out, const bench_report& report) {
    const machine& where = report.where;
    out << where.cpus << " CPUs, " << where.cpu_model << ", " << where.kernel << ", "
        << where.compiler << (where.optimised ? "" : ", NOT OPTIMISED") << ", "
        << (where.python.empty() ? "no Python to compare with" : "Python " + where.python) << '\n'
        << report.repetitions
        << (report.repetitions == 1 ? " repetition" : " repetitions, by turns") << ", of about "
        << report.run_s << " s each; load average " << std::fixed << std::setprecision(2)
        << report.load_before << " before, " << report.load_after << " after\n\n"
        << std::left << std::setw(42) << "" << std::right << std::setw(13) << "median"
        << std::setw(28) << "min - max" << std::setw(12) << "bulkhead is" << '\n';
    for (const measured_figure& figure : report.figures) {
        out << figure.what->name << ": " << figure.what->title << " (" << figure.what->unit
            << ")\n";
        for (const measured_contender& contender : figure.contenders) {
            const bool first = &contender == &figure.contenders.front();
            out << "    " << std::left << std::setw(38) << contender.name << std::right
                << std::setw(13) << readable(contender.median()) << std::setw(28)
                << readable(contender.min()) + " - " + readable(contender.max());
            const double ratio = figure.ratio_to(contender);
            if (!first && std::isfinite(ratio)) out << std::setw(12) << times(ratio);
            out << '\n';
        }
    }
}

void print_json(std::ostream& out, const bench_report& report) {
    namespace json = boost::json;
    json::array figures;
    for (const measured_figure& figure : report.figures) {
        json::array contenders;
        for (const measured_contender& contender : figure.contenders) {
            json::value ratio = nullptr;  // JSON knows no infinity, and none of 0 and 0
            if (std::isfinite(figure.ratio_to(contender))) ratio = figure.ratio_to(contender);
            contenders.push_back(
                {{"name", contender.name},
                 {"median", contender.median()},
                 {"min", contender.min()},
                 {"max", contender.max()},
                 {"first_is_better_by", std::move(ratio)},
                 {"runs", json::array(contender.runs.begin(), contender.runs.end())}});
        }
        figures.push_back({{"name", figure.what->name},
                           {"title", figure.what->title},
                           {"unit", figure.what->unit},
                           {"more_is_better", figure.what->more_is_better},
                           {"contenders", std::move(contenders)}});
    }
    const machine& where = report.where;
    json::value python = nullptr;
    if (!where.python.empty()) python = where.python;
    const json::object whole{{"machine",
                              {{"cpus", where.cpus},
                               {"cpu_model", where.cpu_model},
                               {"kernel", where.kernel},
                               {"compiler", where.compiler},
                               {"optimised", where.optimised},
                               {"python", python}}},
                             {"repetitions", report.repetitions},
                             {"run_seconds", report.run_s},
                             {"load_average_before", report.load_before},
                             {"load_average_after", report.load_after},
                             {"not_installed", json::value_from(report.not_installed)},
                             {"figures", std::move(figures)}};
    out << json::serialize(whole) << '\n';
}

}  // namespace bulkhead::tools
