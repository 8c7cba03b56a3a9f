// Parsing with Boost.Program_options.
#include "stream_options.hpp"

#include <charconv>
#include <iostream>

namespace bulkhead::tools {
namespace {

namespace po = boost::program_options;

template <class Number>
Number parse_number(const std::string& option, const std::string& text) {
    Number value{};
    const char* end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data(), end, value);
    if (failure == std::errc::result_out_of_range && stop == end) {
        throw usage_mistake(option + " is out of range: '" + text + "'");
    }
    if (failure != std::errc() || stop != end || text.empty()) {
        throw usage_mistake(option + " wants a number, not '" + text + "'");
    }
    return value;
}

po::options_description visible_options(const stream_program& program) {
    po::options_description options("Options");
    options.add_options()("count,n", po::value<std::string>()->value_name("COUNT"),
                          "stop after COUNT messages")(
        "timeout", po::value<std::string>()->value_name("SECONDS"),
        "give up, with exit code 1, after so long without a message; decimals are allowed")(
        "capacity", po::value<std::string>()->value_name("BYTES"),
        "what the queue holds, and its largest message, if it has to be made: 65536, 64K, 1M, 2G "
        "(default 8M); one that exists stays as it is")(
        "frame", po::value<std::string>()->value_name("KIND")->default_value("lines"),
        "what a message is: lines (ends in a newline), nul (ends in a zero byte), u32 (a "
        "little-endian 32-bit length, then as many bytes), json (a line with an object whose "
        "member "
        "\"data\", or \"data_base64\", is the message; the reader adds when it came, its number "
        "and "
        "size)")("json", "the same as --frame json")("follow,f", program.follow)(
        "boost",
        "QUEUE is a boost::interprocess::message_queue that another program has made; it has no "
        "end, "
        "so the reader stops by --count, --timeout or a signal")(
        "keep", "do not remove the queue once it is closed and drained")(
        "progress", "show messages, bytes and MiB/s on stderr even if it is no terminal")(
        "help,h", "print this and exit")("version", "print the version and exit");
    return options;
}

po::variables_map parse(const po::options_description& visible, int argc, char** argv) {
    po::options_description hidden;
    hidden.add_options()("queue", po::value<std::string>())("file",
                                                            po::value<std::vector<std::string>>());
    po::options_description all;
    all.add(visible).add(hidden);
    po::positional_options_description positional;
    positional.add("queue", 1).add("file", -1);
    return parse_options(argc, argv, all, positional);
}

}  // namespace

std::uint64_t parse_count(const std::string& option, const std::string& text) {
    return parse_number<std::uint64_t>(option, text);
}

std::chrono::milliseconds parse_seconds(const std::string& option, const std::string& text) {
    constexpr double longest_s = 1e9;
    const auto seconds = parse_number<double>(option, text);
    if (!(seconds >= 0 && seconds <= longest_s)) {
        throw usage_mistake(option + " wants seconds from 0 to 1000000000, not '" + text + "'");
    }
    return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds));
}

std::size_t parse_size(const std::string& text) {
    std::size_t shift = 0;
    std::string digits = text;
    if (!digits.empty()) {
        switch (digits.back()) {
            case 'K':
            case 'k':
                shift = 10;
                break;
            case 'M':
            case 'm':
                shift = 20;
                break;
            case 'G':
            case 'g':
                shift = 30;
                break;
            default:
                break;
        }
        if (shift != 0) digits.pop_back();
    }
    std::uint64_t value = 0;
    try {
        value = parse_number<std::uint64_t>("--capacity", digits);
    } catch (const usage_mistake&) {
        value = 0;  // told below, with the units
    }
    if (value == 0 || value > (std::uint64_t{1} << 40) >> shift) {
        throw usage_mistake(
            "--capacity is a whole number of bytes, K, M or G, from 1 to 1024G, not '" + text +
            "'");
    }
    return static_cast<std::size_t>(value << shift);
}

std::optional<stream_options> parse_command_line(const stream_program& program, int argc,
                                                 char** argv) {
    const auto visible = visible_options(program);
    const auto given = parse(visible, argc, argv);
    if (given.count("help") != 0) {
        std::cout << "Usage: " << program.name << " [options] " << program.synopsis << "\n\n"
                  << program.summary << '\n'
                  << visible
                  << "\nExit code: 0 ok, 1 failed, 2 wrong usage, 128+n ended by signal n.\n";
        return std::nullopt;
    }
    if (given.count("version") != 0) {
        std::cout << program.name << ' ' << program.version << '\n';
        return std::nullopt;
    }
    stream_options options;
    if (given.count("queue") == 0) throw usage_mistake("which queue? Its name is missing");
    options.queue = given["queue"].as<std::string>();
    if (given.count("file") != 0) {
        options.files = given["file"].as<std::vector<std::string>>();
        if (!program.takes_files) {
            throw usage_mistake("one argument is expected, the queue's name; what is '" +
                                options.files.front() + "'?");
        }
    }
    if (given.count("count") != 0) {
        options.count = parse_count("-n", given["count"].as<std::string>());
    }
    if (given.count("timeout") != 0) {
        options.timeout = parse_seconds("--timeout", given["timeout"].as<std::string>());
    }
    if (given.count("capacity") != 0) {
        options.capacity_bytes = parse_size(given["capacity"].as<std::string>());
    }
    try {
        options.how = parse_frame(given["frame"].as<std::string>());
    } catch (const std::invalid_argument& mistake) {
        throw usage_mistake(mistake.what());
    }
    if (given.count("json") != 0) {
        if (!given["frame"].defaulted() && options.how != frame::json) {
            throw usage_mistake("--json and --frame " + given["frame"].as<std::string>() +
                                " contradict each other");
        }
        options.how = frame::json;
    }
    options.boost = given.count("boost") != 0;
    for (const char* own : {"capacity", "keep"}) {
        if (options.boost && given.count(own) != 0) {
            throw usage_mistake(std::string("--") + own + " is not for --boost: the queue is " +
                                "another program's");
        }
    }
    options.keep = given.count("keep") != 0;
    options.follow = given.count("follow") != 0;
    options.progress = given.count("progress") != 0;
    return options;
}

}  // namespace bulkhead::tools
