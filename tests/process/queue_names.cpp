// Named queues: making, opening and removing them, and what is refused.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/queue.hpp>

#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using test::forked;

std::string path_of(const std::string& name) {
    return "/dev/shm/bulkhead-" + std::to_string(::geteuid()) + "-queue-" + name;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(queue_names, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(impossible_options_are_usage_errors) {
    using bulkhead::usage_error;
    BOOST_TEST(test::throws<usage_error>([] { bulkhead::queue<int> q({.capacity_bytes = 0}); },
                                         "capacity_bytes"));
    BOOST_TEST(test::throws<usage_error>(
        [] { bulkhead::queue<int> q({.capacity_bytes = SIZE_MAX}); }, "at most"));
    for (const std::string& bad :
         {std::string(), std::string("a/b"), std::string("a\0b", 3), std::string(201, 'n')}) {
        BOOST_CHECK_THROW((void)bulkhead::queue<int>::create(bad), usage_error);
        BOOST_CHECK_THROW((void)bulkhead::queue<int>::open(bad), usage_error);
        BOOST_CHECK_THROW((void)bulkhead::queue<int>::open_or_create(bad), usage_error);
        BOOST_CHECK_THROW(bulkhead::queue<int>::remove(bad), usage_error);
    }
}

BOOST_AUTO_TEST_CASE(a_queue_has_a_name_until_it_is_removed) {
    const std::string name = test::unique_name();
    BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                             "create it first"));
    {
        const auto q = bulkhead::queue<int>::create(name, {.capacity_bytes = 4096});
        q.put(1);
        BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::create(name); },
                                                 "exists"));
        BOOST_TEST(test::throws<bulkhead::error>(
            [&] { (void)bulkhead::queue<std::string>::open(name); }, "it holds 'int'"));
        BOOST_TEST(test::throws<bulkhead::error>(
            [&] { (void)bulkhead::queue<int>::open_or_create(name, {.capacity_bytes = 8192}); },
            "4096"));
    }
    BOOST_TEST(test::ended(forked([&] {
                   const auto same = bulkhead::queue<int>::open(name);
                   if (same.get() != 1) ::_exit(2);
                   bulkhead::queue<int>::open_or_create(name).put(2);
               })) == 0);
    const auto q = bulkhead::queue<int>::open(name);
    BOOST_TEST(q.get() == 2);
    BOOST_TEST(bulkhead::queue<int>::remove(name));
    BOOST_TEST(!bulkhead::queue<int>::remove(name));
    q.put(3);
    BOOST_TEST(q.get() == 3);
}

BOOST_AUTO_TEST_CASE(of_many_that_open_or_create_at_once_one_creates) {
    const std::string name = test::unique_name();
    std::vector<pid_t> all;
    for (int i = 0; i != 20; ++i) {
        all.push_back(forked([&] { bulkhead::queue<int>::open_or_create(name).put(i); }));
    }
    for (const pid_t pid : all) BOOST_TEST(test::ended(pid) == 0);
    BOOST_TEST(bulkhead::queue<int>::open(name).size() == 20U);
    bulkhead::queue<int>::remove(name);
}

BOOST_AUTO_TEST_CASE(the_creator_is_killed_and_the_others_go_on) {
    const std::string name = test::unique_name();
    const pid_t creator = forked([&] {
        const auto q = bulkhead::queue<int>::create(name);
        for (int i = 0;; ++i) q.put(i);
    });
    test::until([&] { return std::filesystem::exists(path_of(name)); });
    const auto q = bulkhead::queue<int>::open(name);
    BOOST_TEST(q.get() == 0);
    test::killed(creator);
    int expected = 1;
    while (const auto v = q.try_get()) BOOST_REQUIRE(*v == expected++);
    q.put(-1);
    BOOST_TEST(bulkhead::queue<int>::open(name).get() == -1);
    bulkhead::queue<int>::remove(name);
}

BOOST_AUTO_TEST_CASE(of_a_creator_killed_half_way_there_is_a_whole_queue_or_none) {
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        const std::string name = test::unique_name();
        for (int round = 0; round != 200; ++round) {
            const pid_t creator = forked([&] {
                for (;;) {
                    (void)bulkhead::queue<int>::create(name);
                    bulkhead::queue<int>::remove(name);
                }
            });
            ::usleep(random(1500));
            test::killed(creator);
            if (std::filesystem::exists(path_of(name))) {
                const auto q = bulkhead::queue<int>::open(name);
                q.put(round);
                BOOST_REQUIRE(q.get() == round);
            }
            bulkhead::queue<int>::remove(name);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_full_dev_shm_is_an_error_at_creation) {
    struct statvfs space {};
    BOOST_REQUIRE(::statvfs("/dev/shm", &space) == 0);
    const std::size_t too_much = space.f_blocks * space.f_frsize + (1 << 20);
    const std::string name = test::unique_name();
    BOOST_TEST(test::throws<bulkhead::error>(
        [&] { (void)bulkhead::queue<int>::create(name, {.capacity_bytes = too_much}); },
        "bytes of /dev/shm, of whose "));
    BOOST_TEST(!std::filesystem::exists(path_of(name)));
}

BOOST_AUTO_TEST_CASE(another_users_queue_is_refused) {
    const std::string name = test::unique_name();
    (void)bulkhead::queue<int>::create(name);
    if (::geteuid() == 0) {
        BOOST_REQUIRE(::chown(path_of(name).c_str(), 12345, 12345) == 0);
        BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                                 "belongs to user 12345"));
        BOOST_TEST(test::throws<bulkhead::error>(
            [&] { (void)bulkhead::queue<int>::open_or_create(name); }, "belongs to user"));
    } else {
        BOOST_REQUIRE(::chmod(path_of(name).c_str(), 0) == 0);
        BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                                 "Permission denied"));
    }
    ::unlink(path_of(name).c_str());
}

BOOST_AUTO_TEST_CASE(permissions_for_others_are_neither_given_nor_accepted) {
    const std::string name = test::unique_name();
    const mode_t before = ::umask(0);
    (void)bulkhead::queue<int>::create(name);
    ::umask(before);
    struct stat about {};
    BOOST_REQUIRE(::stat(path_of(name).c_str(), &about) == 0);
    BOOST_TEST((about.st_mode & 0777U) == 0600U);
    BOOST_REQUIRE(::chmod(path_of(name).c_str(), 0666) == 0);
    BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                             "permissions"));
    bulkhead::queue<int>::remove(name);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_no_queue_or_another_versions_is_refused) {
    const std::string name = test::unique_name();
    const std::string path = path_of(name);
    (void)bulkhead::queue<int>::create(name);
    std::string whole(std::filesystem::file_size(path), '\0');
    std::ifstream(path, std::ios::binary)
        .read(whole.data(), static_cast<std::streamsize>(whole.size()));
    const auto with = [&](std::size_t at, char value) {
        std::string changed = whole;
        changed[at] = value;
        return changed;
    };
    const auto refused = [&](const std::string& content, const std::string& why) {
        ::unlink(path.c_str());
        std::ofstream(path, std::ios::binary) << content;
        ::chmod(path.c_str(), 0600);
        return test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); }, why);
    };
    BOOST_TEST(refused("", "too few"));
    BOOST_TEST(refused(whole.substr(0, 255), "too few"));
    BOOST_TEST(refused(whole.substr(0, 256), "cut short"));
    BOOST_TEST(refused(whole.substr(0, 5000), "cut short"));
    BOOST_TEST(refused(std::string(5000, 'x'), "not made by Bulkhead"));
    BOOST_TEST(refused(with(8, 99), "version 99"));
    BOOST_TEST(refused(with(12, 99), "word size"));
    BOOST_TEST(refused(with(16, 2), "it is a mutex, not a queue"));
    BOOST_TEST(refused(with(24, 99), "it holds 'int', not 'int'"));
    BOOST_TEST(refused(with(56, 99), "PID namespace"));
    ::unlink(path.c_str());
    std::filesystem::create_symlink("/dev/null", path);
    BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                             "cannot open"));
    ::unlink(path.c_str());
    std::filesystem::create_directory(path);
    BOOST_TEST(test::throws<bulkhead::error>([&] { (void)bulkhead::queue<int>::open(name); },
                                             "cannot open"));
    std::filesystem::remove(path);
}

BOOST_AUTO_TEST_CASE(a_queue_overwritten_with_random_bytes_fails_cleanly_or_works) {
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        for (int round = 0; round != 100; ++round) {
            const std::string name = test::unique_name();
            const unsigned noise = random(1U << 30);
            // In a child, as a hang or a crash is what must not be.
            const int code = test::ended(forked([&] {
                ::alarm(60);
                std::mt19937 dice(noise);
                const auto q = bulkhead::queue<std::string>::create(name, {.capacity_bytes = 2000});
                q.put("some");
                const int fd = ::open(path_of(name).c_str(), O_RDWR | O_CLOEXEC);
                std::string bytes(dice() % 2 == 0 ? 3000 : 1 + dice() % 64, '\0');
                for (char& c : bytes) c = static_cast<char>(dice());
                const auto at = static_cast<off_t>(bytes.size() == 3000 ? 0 : dice() % 800);
                if (::pwrite(fd, bytes.data(), bytes.size(), at) < 0) ::_exit(3);
                for (int i = 0; i != 4; ++i) {
                    try {
                        q.try_put("more");
                        (void)q.get_for(1ms);
                        (void)bulkhead::queue<std::string>::open(name).size();
                    } catch (const bulkhead::error&) {
                    }
                }
            }));
            BOOST_TEST(code == 0);
            ::unlink(path_of(name).c_str());
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
