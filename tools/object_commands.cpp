// The tables and JSON of ls, stat, rm and clean.
#include "object_commands.hpp"

#include "table.hpp"

#include <bulkhead/detail/catalog.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <pwd.h>
#include <stdexcept>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

using detail::object_report;
namespace json = boost::json;

std::string title(const object_report& one) { return one.kind + " '" + printable(one.name) + "'"; }

std::string user_name(uid_t user) {
    const passwd* entry = ::getpwuid(user);
    return entry != nullptr ? entry->pw_name : std::to_string(user);
}

std::string pids(const std::vector<pid_t>& all) {
    std::string text;
    for (const pid_t pid : all) {
        if (!text.empty()) text += ' ';
        text += std::to_string(pid);
    }
    return text;
}

std::string detail_of(const object_report& one, const char* name) {
    for (const auto& [key, value] : one.details) {
        if (key == name) return std::to_string(value);
    }
    return "-";
}

std::string attached_text(const object_report& one) {
    return one.users_known ? std::to_string(one.attached.size()) : "?";
}

json::object as_json(const object_report& one) {
    json::object state;
    for (const auto& [key, value] : one.details) state[key] = value;
    json::object result{
        {"name", one.name},
        {"kind", one.kind},
        {"type", one.holds},
        {"path", one.path},
        {"owner", user_name(one.owner)},
        {"uid", one.owner},
        {"bytes", one.bytes},
        {"age_s", one.age.count()},
        {"users_known", one.users_known},
        {"attached", json::array(one.attached.begin(), one.attached.end())},
        {"dead", json::array(one.dead.begin(), one.dead.end())},
        {"state", state},
    };
    if (!one.trouble.empty()) result["trouble"] = one.trouble;
    return result;
}

json::array as_json(const std::vector<object_report>& all) {
    json::array result;
    for (const auto& one : all) result.push_back(as_json(one));
    return result;
}

bool is_called(const object_report& one, const std::string& wanted) {
    const auto slash = wanted.find('/');
    if (slash == std::string::npos) return one.name == wanted;
    return one.kind == wanted.substr(0, slash) && one.name == wanted.substr(slash + 1);
}

/// Those of `all` that `wanted` names: own ones first, others' only if there is no own one.
std::vector<object_report> named(const std::vector<object_report>& all, const std::string& wanted) {
    std::vector<object_report> own;
    std::vector<object_report> foreign;
    for (const auto& one : all) {
        if (is_called(one, wanted)) (one.owner == ::geteuid() ? own : foreign).push_back(one);
    }
    if (own.empty() && foreign.empty()) {
        throw std::runtime_error("there is no object called '" + wanted +
                                 "' here (bulkhead ls shows those that are)");
    }
    return own.empty() ? foreign : own;
}

object_report the_one(const std::vector<object_report>& all, const std::string& wanted) {
    auto found = named(all, wanted);
    if (found.size() == 1) return found.front();
    std::string which;
    for (const auto& one : found) {
        if (!which.empty()) which += ", ";
        which += one.kind + "/" + one.name;
    }
    throw std::runtime_error("'" + wanted + "' is the name of several objects: " + which +
                             "; say which one");
}

/// Of one whose users are not known.
std::string why_unknown(const object_report& one) {
    return one.trouble.empty() ? " may be used by processes that cannot be seen from here"
                               : " does not tell who uses it: " + one.trouble;
}

std::vector<object_report> requested(const object_request& request) {
    auto all = detail::list_objects();
    if (request.names.empty()) return all;
    std::vector<object_report> result;
    for (const auto& name : request.names) {
        for (auto& one : named(all, name)) result.push_back(std::move(one));
    }
    return result;
}

void print_stat(const object_report& one) {
    const auto line = [](const std::string& key, const std::string& value) {
        std::cout << "  " << key << ": " << value << '\n';
    };
    std::cout << title(one) << '\n';
    if (!one.holds.empty() && one.holds != "lock") line("holds", one.holds);
    line("owner", user_name(one.owner));
    line("memory", bytes_text(one.bytes));
    line("age", age_text(one.age));
    if (one.users_known) {
        line("used by", one.attached.empty() ? "no process" : pids(one.attached));
    } else {
        line("used by", "processes that cannot be seen from here, perhaps");
    }
    if (!one.dead.empty()) line("dead, still listed", pids(one.dead));
    for (const auto& [key, value] : one.details) line(key, std::to_string(value));
    if (!one.trouble.empty()) line("trouble", one.trouble);
    line("path", one.path);
}

}  // namespace

void list_command(const object_request& request) {
    const auto all = requested(request);
    if (request.json) {
        std::cout << as_json(all) << '\n';
        return;
    }
    table lines({"NAME", "KIND", "OWNER", ">MEMORY", ">MESSAGES", ">BYTES", ">ATTACHED", ">DEAD",
                 ">AGE", "TROUBLE"});
    for (const auto& one : all) {
        lines.add({one.name, one.kind, user_name(one.owner), bytes_text(one.bytes),
                   detail_of(one, "messages"), detail_of(one, "bytes_used"), attached_text(one),
                   std::to_string(one.dead.size()), age_text(one.age), one.trouble});
    }
    lines.print(std::cout);
}

void stat_command(const object_request& request) {
    const auto all = requested(request);
    if (request.json) {
        std::cout << as_json(all) << '\n';
        return;
    }
    for (const auto& one : all) print_stat(one);
}

void remove_command(const object_request& request) {
    const auto all = detail::list_objects();
    // Nothing is removed if one of the names is wrong.
    std::vector<object_report> chosen;
    chosen.reserve(request.names.size());
    for (const auto& name : request.names) chosen.push_back(the_one(all, name));
    for (const auto& one : chosen) {
        if (request.force) {
            (void)detail::remove_object(one);
            continue;
        }
        if (!one.users_known) {
            throw std::runtime_error(title(one) + why_unknown(one) +
                                     "; --force removes its name nevertheless");
        }
        if (detail::remove_unused_object(one) == detail::removal::in_use) {
            throw std::runtime_error(title(one) + " is used by " +
                                     (one.attached.empty() ? "a process that has just come"
                                                           : "process " + pids(one.attached)) +
                                     "; --force removes its name nevertheless, and they keep it");
        }
    }
}

void clean_command(const object_request& request) {
    json::array removed;
    json::array kept;
    for (const auto& one : requested(request)) {
        if (one.owner != ::geteuid()) {
            if (!request.names.empty()) {
                std::cerr << "bulkhead: kept: " << title(one) << " is " << user_name(one.owner)
                          << "'s\n";
            }
            continue;
        }
        const bool unused = one.users_known && one.attached.empty();
        const bool gone = unused && (request.dry_run ||
                                     detail::remove_unused_object(one) == detail::removal::removed);
        (gone ? removed : kept).push_back(as_json(one));
        if (request.json) continue;
        if (!gone) {
            if (!one.users_known) {
                std::cerr << "bulkhead: kept: " << title(one) << why_unknown(one) << '\n';
            }
            continue;
        }
        const std::string messages = detail_of(one, "messages");
        std::cout << (request.dry_run ? "would remove " : "removed ") << title(one)
                  << (messages != "-" && messages != "0" ? " with " + messages + " messages" : "")
                  << '\n';
    }
    if (request.json) {
        std::cout << json::object{{"dry_run", request.dry_run},
                                  {"removed", removed},
                                  {"kept", kept}}
                  << '\n';
    }
}

}  // namespace bulkhead::tools
