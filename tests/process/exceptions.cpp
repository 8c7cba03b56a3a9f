// What a task throws arrives in get() as what it was.
#include "support/scene.hpp"

#include <any>
#include <future>
#include <ios>
#include <ranges>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <variant>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::remote_error;
using bulkhead::remote_info;
using bulkhead::task_options;

struct not_an_exception {
    int code;
};
class own_error : public std::invalid_argument {
public:
    own_error() : std::invalid_argument("own words") {}
};
class own_closed : public bulkhead::queue_closed {
    using bulkhead::queue_closed::queue_closed;
};
class own_exception : public std::exception {
public:
    [[nodiscard]] const char* what() const noexcept override { return "bare"; }
};

class bad_line : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};
class worse_line : public bad_line {
public:
    using bad_line::bad_line;
};
struct bad_pixel {
    int x;
    int y;
    std::string color;
};

struct unspeakable {};

template <class E>
[[noreturn]] void throw_it(const std::string& text) {
    throw E(text);
}

/// Arrives as an E, with text and type name, in a worker that lives on.
template <class E>
void check_standard(process_pool& pool, const std::string& type_name) {
    const std::string text = "the reason: \"\xc3\xa4\"\n";
    const pid_t pid = pool.submit(whoami).get();
    auto f = pool.submit(task_options{.name = "thrower"}, throw_it<E>, text);
    try {
        f.get();
        BOOST_ERROR("nothing was thrown");
    } catch (const E& e) {
        BOOST_TEST(e.what() == text);
        const auto* info = dynamic_cast<const remote_info*>(&e);
        BOOST_REQUIRE(info != nullptr);
        BOOST_TEST(info->type_name() == type_name);
        BOOST_TEST(info->message() == text);
        BOOST_TEST(info->task_name() == "thrower");
        BOOST_TEST(info->pid() == pid);
    }
    BOOST_CHECK_THROW(pool.submit(throw_it<E>, text).get(), remote_info);
    BOOST_CHECK_THROW(pool.submit(throw_it<E>, text).get(), std::exception);
    BOOST_TEST(pool.submit(whoami).get() == pid);
}

}  // namespace

template <>
struct bulkhead::codec<unspeakable> {
    static void encode(encoder&, const unspeakable&) { throw std::domain_error("no words for it"); }
    static unspeakable decode(decoder&) { return unspeakable{}; }
};
BULKHEAD_EXCEPTION(unspeakable);
BULKHEAD_EXCEPTION(bad_line);
BULKHEAD_EXCEPTION(bad_pixel);

BOOST_FIXTURE_TEST_SUITE(exceptions, scene)

BOOST_AUTO_TEST_CASE(standard_types_arrive_as_themselves_and_as_remote_info) {
    process_pool pool(1);
    check_standard<std::runtime_error>(pool, "std::runtime_error");
    check_standard<std::range_error>(pool, "std::range_error");
    check_standard<std::overflow_error>(pool, "std::overflow_error");
    check_standard<std::underflow_error>(pool, "std::underflow_error");
    check_standard<std::logic_error>(pool, "std::logic_error");
    check_standard<std::invalid_argument>(pool, "std::invalid_argument");
    check_standard<std::domain_error>(pool, "std::domain_error");
    check_standard<std::length_error>(pool, "std::length_error");
    check_standard<std::out_of_range>(pool, "std::out_of_range");
    BOOST_TEST(pool.stats().crashed == 0U);
    BOOST_TEST(pool.stats().restarts == 0U);
}

BOOST_AUTO_TEST_CASE(standard_types_without_a_text_of_their_own_arrive_as_themselves) {
    process_pool pool(1);
    (void)error_of<std::bad_alloc>(pool.submit([] { throw std::bad_alloc(); }));
    (void)error_of<std::bad_cast>(pool.submit([] { throw std::bad_cast(); }));
    (void)error_of<std::bad_any_cast>(pool.submit([] { throw std::bad_any_cast(); }));
    (void)error_of<std::bad_typeid>(pool.submit([] { throw std::bad_typeid(); }));
    (void)error_of<std::bad_function_call>(pool.submit([] { throw std::bad_function_call(); }));
    (void)error_of<std::bad_weak_ptr>(pool.submit([] { throw std::bad_weak_ptr(); }));
    (void)error_of<std::bad_exception>(pool.submit([] { throw std::bad_exception(); }));
    (void)error_of<std::bad_optional_access>(
        pool.submit([] { return std::optional<int>().value(); }));
    (void)error_of<std::bad_variant_access>(
        pool.submit([] { return std::get<int>(std::variant<int, bool>(true)); }));
    (void)error_of<std::exception>(pool.submit([] { throw std::exception(); }));
    BOOST_TEST(error_of<std::out_of_range>(pool.submit([] {
                   return std::string("x").at(5);
               })).what() != nullptr);
}

BOOST_AUTO_TEST_CASE(error_codes_and_paths_travel_with_their_exceptions) {
    process_pool pool(1);
    const auto system = error_of<std::system_error>(
        pool.submit([] { throw std::system_error(ENOSPC, std::generic_category(), "writing"); }));
    BOOST_TEST((system.code() == std::errc::no_space_on_device));
    try {
        pool.submit([] { fs::create_directory("/proc/no/such"); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const fs::filesystem_error& e) {
        BOOST_TEST(e.path1() == "/proc/no/such");
        BOOST_TEST((e.code() == std::errc::no_such_file_or_directory));
        BOOST_TEST(contains(e.what(), "/proc/no/such"));
    }
    const auto regex = error_of<std::regex_error>(pool.submit([] { std::regex("["); }));
    BOOST_TEST((regex.code() == std::regex_constants::error_brack));
    const auto failed = error_of<std::future_error>(
        pool.submit([] { throw std::future_error(std::future_errc::broken_promise); }));
    BOOST_TEST((failed.code() == std::future_errc::broken_promise));
    (void)error_of<std::ios_base::failure>(
        pool.submit([] { throw std::ios_base::failure("stream"); }));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(own_type_arrives_as_its_nearest_standard_base_with_its_own_name, Pool,
                              executors) {
    Pool pool(1);
    try {
        pool.submit([] { throw own_error(); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::invalid_argument& e) {
        BOOST_TEST(e.what() == "own words");
        BOOST_TEST(contains(dynamic_cast<const remote_info&>(e).type_name(), "own_error"));
    }
    try {
        pool.submit([] { throw own_closed("own"); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const bulkhead::queue_closed& e) {
        BOOST_TEST(contains(dynamic_cast<const remote_info&>(e).type_name(), "own_closed"));
    }
    try {
        pool.submit([] { throw own_exception(); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::exception& e) {
        BOOST_TEST(e.what() == "bare");
        BOOST_TEST(contains(dynamic_cast<const remote_info&>(e).type_name(), "own_exception"));
    }
}

BOOST_AUTO_TEST_CASE(in_a_thread_pool_the_exception_of_an_own_type_is_nested_in_what_arrives) {
    bulkhead::thread_pool pool(1);
    try {
        pool.submit([] { throw own_error(); }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::invalid_argument& e) {
        BOOST_CHECK_THROW(std::rethrow_if_nested(e), own_error);
    }
    try {
        pool.submit(throw_it<std::invalid_argument>, "plain").get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::invalid_argument& e) {
        std::rethrow_if_nested(e);  // nothing is
    }
}

BOOST_AUTO_TEST_CASE(anything_else_is_a_remote_error_that_names_the_type) {
    process_pool pool(1);
    const pid_t pid = pool.submit(whoami).get();
    const auto number =
        error_of<remote_error>(pool.submit(task_options{.name = "five"}, [] { throw 5; }));
    BOOST_TEST(number.type_name() == "int");
    BOOST_TEST(number.message().empty());
    BOOST_TEST(number.task_name() == "five");
    BOOST_TEST(number.pid() == pid);
    BOOST_TEST(contains(number.what(), "five"));
    BOOST_TEST(contains(number.what(), "int"));

    const auto own = error_of<remote_error>(pool.submit([] { throw not_an_exception{3}; }));
    BOOST_TEST(contains(own.type_name(), "not_an_exception"));
    const auto text = error_of<remote_error>(pool.submit([] { throw "literally"; }));
    BOOST_TEST(text.message() == "literally");
    BOOST_TEST(contains(text.what(), "literally"));
    const auto string = error_of<remote_error>(pool.submit([] { throw std::string("a string"); }));
    BOOST_TEST(string.type_name() ==
               "std::basic_string<char, std::char_traits<char>, "
               "std::allocator<char> >");
    BOOST_TEST(string.message() == "a string");
    BOOST_CHECK_THROW(pool.submit([] { throw 5; }).get(), bulkhead::error);
    BOOST_CHECK_THROW(pool.submit([] { throw 5; }).get(), std::exception);
    BOOST_CHECK_THROW(pool.submit([] { throw 5; }).get(), remote_info);
    BOOST_TEST(pool.submit(whoami).get() == pid);
}

BOOST_AUTO_TEST_CASE(a_very_long_what_arrives_whole) {
    process_pool pool(1);
    const std::string text(3'000'000, 'w');
    const auto e = error_of<std::runtime_error>(pool.submit(throw_it<std::runtime_error>, text));
    BOOST_TEST((e.what() == text));
}

BOOST_AUTO_TEST_CASE(librarys_own_errors_pass_through_a_task) {
    process_pool pool(1);
    (void)error_of<bulkhead::codec_error>(
        pool.submit(throw_it<bulkhead::codec_error>, std::string("c")));
    (void)error_of<bulkhead::usage_error>(
        pool.submit(throw_it<bulkhead::usage_error>, std::string("u")));
    (void)error_of<bulkhead::pool_closed>(
        pool.submit(throw_it<bulkhead::pool_closed>, std::string("p")));
}

BOOST_AUTO_TEST_CASE(a_relayed_exception_keeps_its_first_type_name) {
    process_pool pool(1);
    const auto relay = [] {
        process_pool inner(1);
        inner.submit([] { throw own_error(); }).get();
    };
    try {
        pool.submit(relay).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const std::invalid_argument& e) {
        BOOST_TEST(contains(dynamic_cast<const remote_info&>(e).type_name(), "own_error"));
        BOOST_TEST(!contains(dynamic_cast<const remote_info&>(e).type_name(), "remote"));
    }
}

BOOST_AUTO_TEST_CASE_TEMPLATE(registered_types_arrive_as_themselves, Pool, executors) {
    Pool pool(1);
    try {
        pool.submit(task_options{.name = "reader"}, throw_it<bad_line>, "line 7").get();
        BOOST_ERROR("nothing was thrown");
    } catch (const bad_line& e) {
        BOOST_TEST(e.what() == "line 7");
        const auto* info = dynamic_cast<const remote_info*>(&e);
        BOOST_REQUIRE(info != nullptr);
        BOOST_TEST(info->task_name() == "reader");
        BOOST_TEST(contains(info->type_name(), "bad_line"));
    }
    BOOST_CHECK_THROW(pool.submit(throw_it<bad_line>, "x").get(), std::runtime_error);
    // Neither derived from a standard one nor made from a text.
    try {
        pool.submit([] { throw bad_pixel{3, 4, "blue"}; }).get();
        BOOST_ERROR("nothing was thrown");
    } catch (const bad_pixel& e) {
        BOOST_TEST(e.x == 3);
        BOOST_TEST(e.y == 4);
        BOOST_TEST(e.color == "blue");
    }
    // A type that derives from it is not it.
    BOOST_CHECK_THROW(pool.submit([] { throw worse_line("y"); }).get(), remote_info);
    const auto nested = [] {
        process_pool inner(1);
        inner.submit(throw_it<bad_line>, "deep").get();
    };
    BOOST_CHECK_THROW(pool.submit(nested).get(), bad_line);
}

BOOST_AUTO_TEST_CASE(
    one_that_does_not_encode_arrives_as_what_its_encoding_threw_and_costs_nothing_else) {
    process_pool pool(1);
    BOOST_CHECK_THROW(pool.submit([] { throw unspeakable(); }).get(), std::domain_error);
    const auto some_throw = [](int item) -> std::string {
        if (item == 3) throw unspeakable();
        return std::to_string(item);
    };
    for (const std::size_t chunk_size : {1U, 10U}) {
        auto items = pool.map(bulkhead::map_options{.chunk_size = chunk_size}, some_throw,
                              std::views::iota(0, 10));
        int number = 0;
        for (auto it = items.begin(); it != items.end(); ++it, ++number) {
            try {
                BOOST_TEST(*it == std::to_string(number));
            } catch (const std::domain_error& e) {
                BOOST_TEST(number == 3);
                BOOST_TEST(e.what() == std::string("no words for it"));
            }
        }
        BOOST_TEST(number == 10);
    }
    BOOST_TEST(pool.stats().restarts == 0U);
}

BOOST_AUTO_TEST_CASE(the_librarys_own_errors_are_caught_as_such) {
    process_pool pool(1);
    BOOST_CHECK_THROW(pool.submit(throw_it<bulkhead::error>, "a").get(), bulkhead::error);
    BOOST_CHECK_THROW(pool.submit(throw_it<bulkhead::map_damaged>, "a").get(),
                      bulkhead::map_damaged);
    BOOST_CHECK_THROW(pool.submit(throw_it<bulkhead::barrier_broken>, "a").get(),
                      bulkhead::barrier_broken);
}

BOOST_AUTO_TEST_SUITE_END()
