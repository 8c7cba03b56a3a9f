// Places in the code, by module and offset.
#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/task.hpp>

#include <set>
#include <thread>
#include <unistd.h>

namespace {

using bulkhead::detail::code_ref;
using bulkhead::detail::locate;
using bulkhead::detail::resolve;

int here(int x) { return x + 1; }
int there(int x) { return x + 2; }

template <class F>
const void* address(F* function) {
    return reinterpret_cast<const void*>(function);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(code_ref)

BOOST_AUTO_TEST_CASE(a_function_of_this_program_is_found_again) {
    const auto ref = locate(address(&here));
    BOOST_TEST((resolve(ref) == address(&here)));
    BOOST_TEST((locate(address(&here)) == ref));
    BOOST_TEST((locate(address(&there)) != ref));
    BOOST_TEST(locate(address(&there)).module == ref.module);
}

BOOST_AUTO_TEST_CASE(a_function_of_another_module_is_told_apart) {
    const auto ref = locate(address(&::getppid));
    BOOST_TEST(ref.module != locate(address(&here)).module);
    BOOST_TEST((resolve(ref) == address(&::getppid)));
}

BOOST_AUTO_TEST_CASE(every_thread_gives_the_same_answer) {
    const auto ref = locate(address(&here));
    std::jthread([&] {
        BOOST_TEST((locate(address(&here)) == ref));
        BOOST_TEST((resolve(ref) == address(&here)));
    }).join();
}

BOOST_AUTO_TEST_CASE(what_is_no_code_is_refused) {
    static int data = 0;
    const int local = 0;
    BOOST_CHECK_THROW((void)locate(nullptr), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)locate(&data), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)locate(&local), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(a_place_that_is_not_here_is_refused) {
    const auto ref = locate(address(&here));
    BOOST_CHECK_THROW((void)resolve({ref.module + 1, ref.offset}), bulkhead::codec_error);
    BOOST_CHECK_THROW((void)resolve({ref.module, UINT64_MAX}), bulkhead::codec_error);
    BOOST_CHECK_THROW((void)resolve({ref.module, 0}), bulkhead::codec_error);
    BOOST_CHECK_THROW((void)resolve({0, 0}), bulkhead::codec_error);
    static int data = 0;
    const auto offset = reinterpret_cast<std::uintptr_t>(&data) -
                        (reinterpret_cast<std::uintptr_t>(address(&here)) - ref.offset);
    BOOST_CHECK_THROW((void)resolve({ref.module, offset}), bulkhead::codec_error);
}

BOOST_AUTO_TEST_CASE(more_places_than_are_remembered_are_told_apart) {
    std::set<std::uint64_t> offsets;
    const auto* base = static_cast<const char*>(address(&here));
    for (int i = 0; i != 500; ++i) {
        const auto ref = locate(base + i);
        offsets.insert(ref.offset);
        BOOST_TEST((resolve(ref) == base + i));
    }
    BOOST_TEST(offsets.size() == 500U);
}

BOOST_AUTO_TEST_SUITE_END()
