/// @file
/// Tasks by name, for workers that are another program: a third-party library that crashes is linked into
/// that program alone.
/// @code
/// // decoder_worker.cpp, linked with the library
/// image decode(const std::string& bytes) { return third_party::decode(bytes); }
/// BULKHEAD_TASK("decode", decode);
/// int main(int argc, char** argv) { bulkhead::init(argc, argv); }
///
/// // the program that uses it
/// bulkhead::process_pool pool({.workers = 4, .executable = "/usr/libexec/decoder_worker"});
/// constexpr bulkhead::named_task<image(std::string)> decode("decode");
/// bulkhead::future<image> f = pool.submit(decode, bytes);
/// @endcode
#pragma once

#include <bulkhead/error.hpp>
#include <bulkhead/task.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace bulkhead {

namespace detail {

/// The longest name of a task, in bytes.
inline constexpr std::size_t task_name_max = 63;

struct registered_task {
    const char* name;
    const char* types;  ///< mangled, for sentences
    std::uint64_t signature;
    task_entry run;
    task_entry run_chunk;
};

/// Before main() or in it, before init(). Two of one name are told at the first use.
bool register_task(const registered_task& task);

/// A function as a callable without state.
template <auto Function, class Pointer = decltype(Function)>
struct constant_function;
template <auto Function, class R, class... P>
struct constant_function<Function, R (*)(P...)> {
    R operator()(P... arguments) const { return Function(std::forward<P>(arguments)...); }
};
template <auto Function, class R, class... P>
struct constant_function<Function, R (*)(P...) noexcept> {
    R operator()(P... arguments) const { return Function(std::forward<P>(arguments)...); }
};

template <auto Function>
bool register_function(const char* name) {
    using task = task_of<constant_function<Function>>;
    static_assert(task::ok && task::parameters_ok);
    using call = typename task::call;
    return register_task({name, typeid(typename call::wire_function).name(), call::wire_signature(),
                          &call::run, &call::run_chunk});
}

}  // namespace detail

/// The task of that name in the worker program, a function of this signature but for references and const:
/// for submit(), map() and process_pool_options::initializer. In a worker that has no task of the name, or one of
/// another signature, the future throws codec_error, which says so. Types count by name, size and alignment: that
/// their members are the same in both programs is for these to see to, by one header.
template <class Signature>
class named_task;

template <class R, class... P>
class named_task<R(P...)> {
public:
    /// Throws usage_error (in a constant expression: does not compile) for an empty name, or one of more than
    /// 63 bytes.
    constexpr explicit named_task(std::string_view name) {
        if (name.empty() || name.size() > detail::task_name_max ||
            name.find('\0') != std::string_view::npos) {
            throw usage_error("bulkhead: a task's name has 1 to 63 bytes, none of them zero");
        }
        std::copy(name.begin(), name.end(), name_);
    }

    [[nodiscard]] constexpr std::string_view name() const noexcept { return name_; }

    /// Not in this process: always usage_error.
    R operator()(P... /*arguments*/) const {
        throw usage_error(std::string("bulkhead: task '") + name_ +
                          "' runs in a process_pool's workers only");
    }

private:
    char name_[detail::task_name_max + 1]{};
};

namespace detail {
template <class Signature>
inline constexpr bool is_named_task<named_task<Signature>> = true;
}  // namespace detail

}  // namespace bulkhead

/// BULKHEAD_TASK(name, function), at namespace scope of a worker program: its tasks of that name run `function`, a
/// function or `+[]` without captures. Names are unique in a program. In a static library it has an effect only if
/// its object file is linked: by a reference to something in it, as an OBJECT library of CMake's, or by
/// --whole-archive.
#define BULKHEAD_TASK(name, ...)                                                           \
    static_assert(sizeof("" name) > 1 && sizeof("" name) <= 64,                            \
                  "bulkhead: a task's name is a literal of 1 to 63 bytes");                \
    [[maybe_unused]] static const bool BULKHEAD_DETAIL_JOIN(bulkhead_task_, __COUNTER__) = \
        ::bulkhead::detail::register_function<(__VA_ARGS__)>(name)
#define BULKHEAD_DETAIL_JOIN(a, b) BULKHEAD_DETAIL_JOIN_NOW(a, b)
#define BULKHEAD_DETAIL_JOIN_NOW(a, b) a##b
