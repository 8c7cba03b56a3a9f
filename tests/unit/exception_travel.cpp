// Exceptions whose bytes were changed on their way.
#include "pool/exception_travel.hpp"

#include <bulkhead/detail/task_encoder.hpp>

#include <boost/test/unit_test.hpp>

#include <exception>
#include <filesystem>
#include <future>
#include <regex>
#include <system_error>
#include <vector>

namespace {

std::vector<std::byte> encoded(const std::exception_ptr& thrown) {
    bulkhead::detail::task_encoder out;
    try {
        std::rethrow_exception(thrown);
    } catch (...) {
        bulkhead::detail::encode_current_exception(out);
    }
    return {out.bytes().begin(), out.bytes().end()};
}

}  // namespace

BOOST_AUTO_TEST_SUITE(exception_travel)

BOOST_AUTO_TEST_CASE(whatever_byte_is_changed_something_is_thrown_that_can_be_caught) {
    for (const auto& thrown :
         {std::make_exception_ptr(std::regex_error(std::regex_constants::error_brack)),
          std::make_exception_ptr(std::future_error(std::future_errc::broken_promise)),
          std::make_exception_ptr(std::system_error(5, std::generic_category(), "five")),
          std::make_exception_ptr(std::filesystem::filesystem_error("file", "a", "b", {}))}) {
        const auto original = encoded(thrown);
        for (std::size_t i = 0; i != original.size(); ++i) {
            for (const int value : {0, 1, 0x7f, 0xff}) {
                auto bytes = original;
                bytes[i] = static_cast<std::byte>(value);
                BOOST_CHECK_THROW(bulkhead::detail::throw_remote(bytes, 1, "task"), std::exception);
            }
        }
        for (std::size_t length = 0; length != original.size(); ++length) {
            BOOST_CHECK_THROW(bulkhead::detail::throw_remote({original.data(), length}, 1, "task"),
                              std::exception);
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
