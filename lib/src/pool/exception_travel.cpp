// One table of the standard exception types, most derived first, serves both directions.
#include "pool/exception_travel.hpp"

#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/exception.hpp>

#include <any>
#include <array>
#include <cxxabi.h>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <tuple>
#include <typeinfo>
#include <unistd.h>
#include <variant>
#include <vector>

namespace bulkhead::detail {
namespace {

constexpr int regex_error_max = 15;

struct wire_exception {
    std::uint32_t type = 0;  // index into the table; its size: no standard type
    std::string type_name;
    std::string message;
    std::error_code code;
    std::string path1;
    std::string path2;
    std::string own_type;  // mangled, of a BULKHEAD_EXCEPTION; empty: none
    std::vector<std::byte> own;
};

/// The program's own types by their mangled names.
struct registry {
    std::mutex lock;  // libraries may be loaded, and register theirs, at any time
    std::map<std::string, registered_exception, std::less<>> types;

    static registry& instance() {
        static auto& all = *new registry;  // used by constructors of globals, in any order
        return all;
    }
    [[nodiscard]] static std::optional<registered_exception> find(std::string_view type) {
        registry& all = instance();
        const std::lock_guard guard(all.lock);
        const auto found = all.types.find(type);
        return found == all.types.end() ? std::nullopt : std::optional(found->second);
    }
};

/// The standard type made anew, with the message it had; and with more bases made by default.
template <class Base, class... More>
class remote final : public Base, public remote_info, public More... {
public:
    template <class... A>
    explicit remote(remote_info info, A&&... arguments)
        : Base(std::forward<A>(arguments)...), remote_info(std::move(info)) {}
    [[nodiscard]] const char* what() const noexcept override { return message().c_str(); }
};

template <class Base, class... More>
[[noreturn]] void throw_as(const wire_exception& e, remote_info info) {
    if constexpr (std::is_same_v<Base, std::filesystem::filesystem_error>) {
        throw remote<Base, More...>(std::move(info), e.message, std::filesystem::path(e.path1),
                                    std::filesystem::path(e.path2), e.code);
    } else if constexpr (std::is_same_v<Base, std::ios_base::failure>) {
        throw remote<Base, More...>(std::move(info), e.message, e.code);
    } else if constexpr (std::is_same_v<Base, std::system_error>) {
        throw remote<Base, More...>(std::move(info), e.code);
    } else if constexpr (std::is_same_v<Base, std::future_error>) {
        throw remote<Base, More...>(std::move(info), static_cast<std::future_errc>(e.code.value()));
    } else if constexpr (std::is_same_v<Base, std::regex_error>) {
        // Not an enumeration of a fixed type: it has no other values.
        if (e.code.value() < 0 || e.code.value() > regex_error_max) {
            throw codec_error(
                "bulkhead: an exception does not decode: its code is none of its type");
        }
        throw remote<Base, More...>(std::move(info),
                                    static_cast<std::regex_constants::error_type>(e.code.value()));
    } else if constexpr (std::is_constructible_v<Base, std::string>) {
        throw remote<Base, More...>(std::move(info), e.message);
    } else {
        throw remote<Base, More...>(std::move(info));
    }
}

template <class Base>
void read_more(const Base& from, wire_exception& e) {
    if constexpr (std::is_same_v<Base, std::filesystem::filesystem_error>) {
        e.path1 = from.path1().native();
        e.path2 = from.path2().native();
    }
    if constexpr (std::is_base_of_v<std::system_error, Base> ||
                  std::is_same_v<Base, std::future_error>) {
        e.code = from.code();
    } else if constexpr (std::is_same_v<Base, std::regex_error>) {
        e.code.assign(static_cast<int>(from.code()), std::generic_category());
    }
}

template <class... Types>
struct type_table {
    static constexpr std::uint32_t size = sizeof...(Types);

    /// Fills in the first type that matches.
    static void classify(const std::exception& thrown, wire_exception& e) {
        std::uint32_t index = 0;
        const auto matches = [&]<class T>(std::type_identity<T>) {
            if (const auto* as = dynamic_cast<const T*>(&thrown)) {
                e.type = index;
                read_more(*as, e);
                return true;
            }
            ++index;
            return false;
        };
        (void)(matches(std::type_identity<Types>{}) || ...);
    }

    template <class... More>
    [[noreturn]] static void rethrow(const wire_exception& e, remote_info info) {
        using thrower = void (*)(const wire_exception&, remote_info);
        static constexpr std::array<thrower, size> throwers{&throw_as<Types, More...>...};
        throwers[e.type](e, std::move(info));
        std::terminate();  // not reached: every thrower throws
    }

    static bool is_exactly_one(const std::type_info& type) {
        return ((type == typeid(Types)) || ...);
    }
};

// Most derived first: the first that matches is the nearest. The library's own errors that a task may
// well let through are among them.
using table =
    type_table<std::filesystem::filesystem_error, std::ios_base::failure, std::system_error,
               std::regex_error, std::overflow_error, std::underflow_error, std::range_error,
               queue_closed, queue_timeout, codec_error, usage_error, pool_closed, pool_broken,
               task_cancelled, wait_timeout, barrier_broken, map_damaged, error, std::runtime_error,
               std::future_error, std::invalid_argument, std::domain_error, std::length_error,
               std::out_of_range, std::logic_error, std::bad_array_new_length, std::bad_alloc,
               std::bad_any_cast, std::bad_cast, std::bad_typeid, std::bad_optional_access,
               std::bad_variant_access, std::bad_function_call, std::bad_weak_ptr,
               std::bad_exception, std::exception>;

std::string demangled(const std::type_info* type) {
    if (type == nullptr) return "an unknown type";
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(
        abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), std::free);
    std::string text = status == 0 ? name.get() : type->name();
    // The ABI's inline namespace is no part of the name that people write.
    static const std::string inline_namespace = "__cxx11::";
    for (std::size_t at = 0; (at = text.find(inline_namespace, at)) != std::string::npos;) {
        text.erase(at, inline_namespace.size());
    }
    return text;
}

/// `kept`: what it refers to.
wire_exception describe_current(std::vector<kept_object>& kept) {
    wire_exception e;
    e.type = table::size;
    const std::type_info* const type = abi::__cxa_current_exception_type();
    e.type_name = demangled(type);
    const auto own = type != nullptr ? registry::find(type->name()) : std::nullopt;
    if (own && *own->type == *type) {  // types of unnamed namespaces may share a name
        task_encoder content;
        own->encode_current(content);
        e.own_type = type->name();
        e.own.assign(content.bytes().begin(), content.bytes().end());
        kept = std::move(content.kept());
    }
    try {
        throw;
    } catch (const std::exception& thrown) {
        e.message = thrown.what();
        table::classify(thrown, e);
        if (const auto* relayed = dynamic_cast<const remote_info*>(&thrown)) {
            e.type_name = relayed->type_name();  // it has come from a task of the task's own
        }
    } catch (const char* text) {
        e.message = text != nullptr ? text : "";
    } catch (const std::string& text) {
        e.message = text;
    } catch (...) {
    }
    return e;
}

template <class... More>
[[noreturn]] void rethrow(const wire_exception& e, pid_t pid, const std::string& task_name) {
    remote_info info(e.type_name, e.message, pid, task_name);
    if (const auto own = registry::find(e.own_type)) {
        decoder in(e.own);
        own->rethrow(in, info);
    }
    if (e.type >= table::size) throw remote_error(std::move(info));
    table::rethrow<More...>(e, std::move(info));
}

/// The exception being handled, as from a worker, but that it is of this process.
template <class... More>
std::exception_ptr made_anew(const std::string& task_name) {
    std::vector<kept_object> kept;
    try {
        rethrow<More...>(describe_current(kept), ::getpid(), task_name);
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace

bool register_exception(const registered_exception& how) {
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    all.types.emplace(how.type->name(), how);
    return true;
}

void encode_current_exception(encoder& out) {
    std::vector<kept_object> kept;
    out.write(describe_current(kept));
    for (auto& one : kept) out.keep_reachable(std::move(one.object), one.descriptor);
}

std::string describe_current_exception() {
    std::vector<kept_object> kept;
    const auto e = describe_current(kept);
    return e.message.empty() ? e.type_name : e.type_name + ": " + e.message;
}

void throw_remote(std::span<const std::byte> bytes, pid_t pid, const std::string& task_name) {
    decoder in(bytes);
    const auto e = in.read<wire_exception>();
    in.expect_end();
    rethrow(e, pid, task_name);
}

std::exception_ptr as_remote(const std::exception_ptr& error, const std::string& task_name) {
    try {
        std::rethrow_exception(error);
    } catch (const remote_info&) {
        return error;
    } catch (const worker_crashed&) {
        return error;
    } catch (const task_timeout&) {
        return error;
    } catch (const std::exception& thrown) {
        if (table::is_exactly_one(typeid(thrown))) return made_anew<>(task_name);
        return made_anew<std::nested_exception>(task_name);
    } catch (...) {
        return made_anew<>(task_name);
    }
}

}  // namespace bulkhead::detail
