// Measures the library, Python and the machine by turns.
#include "bench_figure.hpp"
#include "bench_python.hpp"
#include "bench_report.hpp"
#include "command_line.hpp"

#include <bulkhead/bulkhead.hpp>

#include <boost/program_options.hpp>

#include <iostream>
#include <optional>
#include <unistd.h>

namespace {

using namespace bulkhead::tools;
namespace po = boost::program_options;

constexpr int repetitions_max = 1000;
constexpr double usual_run_s = 1;
constexpr double quick_run_s = 0.02;

struct bench_options {
    int repetitions = 5;
    double run_s = usual_run_s;
    std::vector<std::string> only;
    bool json = false;
    bool python = true;
    bool peers = true;
};

std::vector<figure> all_figures() {
    std::vector<figure> figures;
    for (const auto& group :
         {throughput_figures, latency_figures, scale_figures, queue_figures, limit_figures}) {
        for (auto& one : group()) figures.push_back(std::move(one));
    }
    return figures;
}

std::string all_names() {
    std::string names;
    for (const auto& figure : all_figures()) names += (names.empty() ? "" : ", ") + figure.name;
    return names;
}

po::options_description visible_options(bench_options& wanted) {
    po::options_description options("Options");
    auto add = options.add_options();
    add("repeat", po::value(&wanted.repetitions)->value_name("N"),
        "measure each N times (default 5, with --quick 1)");
    add("quick", "runs of 20 ms instead of 1 s: to see that it works, not to compare");
    add("only", po::value(&wanted.only)->value_name("NAME"),
        "measure only this; may be given several times");
    add("no-python", "leave Python out");
    add("no-peers", "leave out what is not the library, Boost or the machine");
    add("json", "print JSON");
    add("help,h", "print this and exit");
    add("version", "print the version and exit");
    return options;
}

/// nullopt: help or version was asked for, and given.
std::optional<bench_options> parse_command_line(int argc, char** argv) {
    bench_options wanted;
    const auto visible = visible_options(wanted);
    const auto given = parse_options(argc, argv, visible);
    if (given.count("help") != 0) {
        std::cout
            << "Usage: bulkhead-bench [options]\n\n"
               "Measures the library, beside it what is installed of its peers (Python's pools,\n"
               "loky, mpi4py, libzmq), and what the machine can do at most, by turns; prints\n"
               "medians and spreads. Takes about eight minutes. Wants an optimised build and a\n"
               "machine that does nothing else.\n\n"
            << visible << "\nNames: " << all_names()
            << "\n\nExit code: 0 ok, 1 failed, 2 wrong usage.\n";
        return std::nullopt;
    }
    if (given.count("version") != 0) {
        std::cout << "bulkhead-bench " << BULKHEAD_VERSION << '\n';
        return std::nullopt;
    }
    if (given.count("quick") != 0) {
        wanted.run_s = quick_run_s;
        if (given.count("repeat") == 0) wanted.repetitions = 1;
    }
    if (wanted.repetitions < 1 || wanted.repetitions > repetitions_max) {
        throw usage_mistake("--repeat can be 1 to " + std::to_string(repetitions_max));
    }
    wanted.json = given.count("json") != 0;
    wanted.peers = given.count("no-peers") == 0;
    wanted.python = wanted.peers && given.count("no-python") == 0;
    return wanted;
}

std::vector<figure> chosen_figures(const std::vector<std::string>& only) {
    auto figures = all_figures();
    if (only.empty()) return figures;
    for (const auto& name : only) {
        const bool known = std::any_of(figures.begin(), figures.end(),
                                       [&](const figure& one) { return one.name == name; });
        if (!known)
            throw usage_mistake("there is no figure '" + name + "'; there are " + all_names());
    }
    std::erase_if(figures, [&](const figure& one) {
        return std::find(only.begin(), only.end(), one.name) == only.end();
    });
    return figures;
}

/// A line on stderr, if it is a terminal, that says what is going on.
void show_progress(const std::string& what) {
    if (::isatty(STDERR_FILENO) != 0) std::cerr << "\r\033[K" << what << std::flush;
}

void say_missing(bench_report& report, const std::string& peer) {
    report.not_installed.push_back(peer);
    std::cerr << "bulkhead-bench: not on this machine, and left out: " << peer
              << " (tools/bench-peers installs it)\n";
}

/// A peer that fails does not spoil what is measured beside it; one of ours does.
void measure_once(measured_figure& measured, std::size_t which, double run_s) {
    auto& contender = measured.contenders[which];
    if (contender.failed) return;
    try {
        contender.runs.push_back(measured.what->contenders[which].measure(run_s));
    } catch (const std::exception& error) {
        if (which == 0) throw;
        contender.failed = true;
        contender.runs.clear();
        show_progress("");
        std::cerr << "bulkhead-bench: " << measured.what->name << ", " << contender.name
                  << " is left out: " << error.what() << '\n';
    }
}

void run_bench(const bench_options& wanted) {
    auto figures = chosen_figures(wanted.only);
    bench_report report{.where = this_machine(),
                        .repetitions = static_cast<std::size_t>(wanted.repetitions),
                        .run_s = wanted.run_s,
                        .load_before = load_average(),
                        .figures = {}};
    if (wanted.peers && !add_zmq_peer(figures)) say_missing(report, "libzmq");
    if (wanted.python) {
        if (const auto version = python_version()) {
            report.where.python = *version;
            for (const auto& name : add_python_peers(figures)) say_missing(report, name);
        } else {
            say_missing(report, "python3 and what belongs to it");
        }
    }
    for (const auto& figure : figures) {
        auto& measured = report.figures.emplace_back(measured_figure{&figure, {}});
        for (const auto& contender : figure.contenders) {
            measured.contenders.push_back({.name = contender.name});
        }
    }
    for (int repetition = 1; repetition <= wanted.repetitions; ++repetition) {
        for (auto& measured : report.figures) {
            for (std::size_t i = 0; i != measured.contenders.size(); ++i) {
                show_progress(std::to_string(repetition) + " of " +
                              std::to_string(wanted.repetitions) + ": " + measured.what->name +
                              ", " + measured.contenders[i].name);
                measure_once(measured, i, wanted.run_s);
            }
        }
    }
    for (auto& measured : report.figures) {
        std::erase_if(measured.contenders,
                      [](const measured_contender& one) { return one.runs.empty(); });
    }
    show_progress("");
    report.load_after = load_average();
    if (wanted.json) {
        print_json(std::cout, report);
    } else {
        print_table(std::cout, report);
    }
    std::cout.flush();
    if (!std::cout) throw std::runtime_error("cannot write to standard output");
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    try {
        if (const auto wanted = parse_command_line(argc, argv)) run_bench(*wanted);
        return 0;
    } catch (const usage_mistake& mistake) {
        std::cerr << "bulkhead-bench: " << mistake.what() << "; see bulkhead-bench --help\n";
        return 2;
    } catch (const std::exception& error) {
        show_progress("");
        std::cerr << "bulkhead-bench: " << error.what() << '\n';
        return 1;
    }
}
