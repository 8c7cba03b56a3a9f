// Looks after what Bulkhead has on this machine.
#include "command_line.hpp"
#include "doctor.hpp"
#include "object_commands.hpp"
#include "stream_options.hpp"
#include "stream_queue.hpp"
#include "top.hpp"

#include <bulkhead/init.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <unistd.h>

namespace {

using namespace bulkhead::tools;
namespace po = boost::program_options;

struct command {
    const char* name;
    const char* arguments;
    const char* summary;  ///< a line for the list
    const char* more;     ///< for its own --help
    void (*run)(const command& self, int argc, char** argv);
};

void print_version() { std::cout << "bulkhead " << BULKHEAD_VERSION << '\n'; }

/// The options that a command takes, and what was given; prints --help or --version and ends then (false).
class command_options {
public:
    explicit command_options(const command& self) : self_(self), options_("Options") {}

    po::options_description_easy_init add() { return options_.add_options(); }

    bool parse(int argc, char** argv) {
        options_.add_options()("help,h", "print this and exit")("version",
                                                                "print the version and exit");
        po::options_description all;
        all.add(options_);
        all.add_options()("argument", po::value<std::vector<std::string>>());
        po::positional_options_description positional;
        positional.add("argument", -1);
        given_ = parse_options(argc, argv, all, positional);
        if (has("version")) {
            print_version();
            return false;
        }
        if (!has("help")) return true;
        std::cout << "Usage: bulkhead " << self_.name << " [options] " << self_.arguments << "\n\n"
                  << self_.more << '\n'
                  << options_;
        return false;
    }

    [[nodiscard]] bool has(const char* name) const { return given_.count(name) != 0; }
    [[nodiscard]] std::string text(const char* name) const {
        return given_[name].as<std::string>();
    }
    [[nodiscard]] std::vector<std::string> arguments() const {
        return has("argument") ? given_["argument"].as<std::vector<std::string>>()
                               : std::vector<std::string>();
    }
    void takes_no_arguments() const {
        if (!arguments().empty()) {
            throw usage_mistake(std::string(self_.name) + " takes no arguments; what is '" +
                                arguments().front() + "'?");
        }
    }

private:
    const command& self_;
    po::options_description options_;
    po::variables_map given_;
};

void run_ls(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("json", "an array of objects instead of a table");
    if (!options.parse(argc, argv)) return;
    list_command({.names = options.arguments(), .json = options.has("json")});
}

void run_stat(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("json", "an array of objects instead of text");
    if (!options.parse(argc, argv)) return;
    if (options.arguments().empty()) throw usage_mistake("stat of what? A name is missing");
    stat_command({.names = options.arguments(), .json = options.has("json")});
}

void run_rm(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("force,f",
                  "also what living processes use: they keep it, others no longer find it");
    if (!options.parse(argc, argv)) return;
    if (options.arguments().empty()) throw usage_mistake("remove what? A name is missing");
    remove_command({.names = options.arguments(), .force = options.has("force")});
}

void run_clean(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("dry-run,n", "only say what would be removed")(
        "json", "an object with what was removed and what kept");
    if (!options.parse(argc, argv)) return;
    clean_command({.names = options.arguments(),
                   .json = options.has("json"),
                   .dry_run = options.has("dry-run")});
}

void run_top(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("count,n", po::value<std::string>()->value_name("COUNT"),
                  "end after COUNT tables")("interval,i",
                                            po::value<std::string>()->value_name("SECONDS"),
                                            "between two tables; decimals are allowed (default 2)")(
        "json", "an array of objects a line instead of tables");
    if (!options.parse(argc, argv)) return;
    options.takes_no_arguments();
    top_request request;
    request.json = options.has("json");
    if (options.has("count")) request.count = parse_count("--count", options.text("count"));
    if (options.has("interval")) {
        request.interval = parse_seconds("--interval", options.text("interval"));
    }
    top_command(request);
}

void run_doctor(const command& self, int argc, char** argv) {
    command_options options(self);
    options.add()("json", "an array of objects instead of text");
    if (!options.parse(argc, argv)) return;
    options.takes_no_arguments();
    doctor_command(options.has("json"));
}

/// Becomes bulkhead-bench, which lies beside this program or in the PATH.
void run_bench(const command&, int argc, char** argv) {
    (void)argc;
    std::error_code failure;
    const auto own = std::filesystem::read_symlink("/proc/self/exe", failure);
    const std::string beside = own.parent_path() / "bulkhead-bench";
    argv[0] = const_cast<char*>("bulkhead-bench");
    ::execv(beside.c_str(), argv);
    ::execvp(argv[0], argv);
    throw std::runtime_error(std::string("cannot start bulkhead-bench: ") + std::strerror(errno));
}

constexpr std::array commands{
    command{"ls", "[NAME...]", "lists named queues, locks and shared memory",
            "Lists the named objects in shared memory, of all users, or those called NAME (or\n"
            "KIND/NAME): memory, messages and their bytes in a queue, how many processes have it\n"
            "(attached), and how many that died are still listed in it.\n",
            run_ls},
    command{"stat", "NAME...", "tells all about one of them",
            "Tells what is known of the objects called NAME (or KIND/NAME).\n", run_stat},
    command{"rm", "NAME...", "removes names that no process uses",
            "Removes the objects called NAME (or KIND/NAME), unless a living process uses them.\n",
            run_rm},
    command{"clean", "[NAME...]", "removes all that only the dead have left",
            "Removes this user's objects that no living process uses, with the messages in them: "
            "all, or "
            "only\nthose called NAME (or KIND/NAME).\n",
            run_clean},
    command{"top", "", "shows worker processes, again and again",
            "Shows the workers of pools, lone processes and keepers: CPU%, memory, age.\n",
            run_top},
    command{"doctor", "", "checks what this machine has and can do",
            "Checks what the library needs, mostly by trying it. Exit code 1 when something is "
            "missing.\n",
            run_doctor},
    command{"bench", "[options]", "measures; see bulkhead bench --help", "", run_bench},
};

void print_help() {
    std::cout << "Usage: bulkhead COMMAND [options] [arguments]\n\n"
                 "Looks after what Bulkhead has on this machine.\n\nCommands:\n";
    for (const auto& one : commands) {
        std::string head = std::string("  ") + one.name + " " + one.arguments;
        head.resize(std::max<std::size_t>(head.size() + 2, 20), ' ');
        std::cout << head << one.summary << '\n';
    }
    std::cout << "\nbulkhead COMMAND --help tells more. bulkhead --version prints the version.\n"
                 "Exit code: 0 ok, 1 failed, 2 wrong usage, 128+n ended by signal n.\n";
}

void run(int argc, char** argv) {
    const std::string_view name = argc > 1 ? argv[1] : "";
    if (name == "--help" || name == "-h" || name == "help") return print_help();
    if (name == "--version") return print_version();
    for (const auto& one : commands) {
        if (name == one.name) return one.run(one, argc - 1, argv + 1);
    }
    if (name.empty()) throw usage_mistake("which command? It is missing");
    throw usage_mistake("there is no command '" + std::string(name) + "'");
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    return run_program("bulkhead", [&] { run(argc, argv); });
}
