// bulkhead-writer and bulkhead-reader as a shell's user meets them.
#include "support/workplace.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/queue.hpp>
#include <csignal>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

using bulkhead::queue;
using test::workplace;

std::string some_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    std::uint32_t state = 1;
    for (char& c : bytes) {
        state = state * 1664525 + 1013904223;
        c = static_cast<char>(state >> 24);
    }
    return bytes;
}

bool has(const std::string& text, const std::string& part) {
    if (text.find(part) != std::string::npos) return true;
    BOOST_TEST_MESSAGE("not in it: " << part << "\n" << text);
    return false;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tools, workplace)

BOOST_AUTO_TEST_CASE(a_copy_is_identical_whatever_the_file_holds_and_whoever_starts_first) {
    const std::vector<std::string> files = {"",
                                            "\n",
                                            "a",
                                            "a\nb",
                                            "a\n\nb\n",
                                            std::string("\0\n\0", 3),
                                            std::string(100'000, '\n'),
                                            std::string(5'000'000, 'x'),
                                            some_bytes(3'000'000),
                                            some_bytes(1) + '\n'};
    for (const auto& file : files) {
        BOOST_TEST_CONTEXT(file.size() << " bytes") {
            write("file", file);
            BOOST_TEST(run("cat file | $W $Q & $R $Q > copy && wait $!") == 0);
            BOOST_TEST((read("copy") == file));
            BOOST_TEST(run("$R $Q > copy & $W $Q < file && wait $!") == 0);
            BOOST_TEST((read("copy") == file));
            BOOST_TEST(run("$R --frame nul $Q > copy & $W --frame nul $Q file && wait $!") == 0);
            BOOST_TEST((read("copy") == file));
            BOOST_TEST(test::own_names() == 0U);
        }
    }
}

BOOST_AUTO_TEST_CASE(the_writer_may_have_ended_before_the_reader_starts) {
    BOOST_TEST(run("printf 'a\\nb' | $W $Q") == 0);
    BOOST_TEST(open().closed());
    BOOST_TEST(run("$R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "a\nb");
    BOOST_TEST(run("$W $Q < /dev/null && $R $Q > copy") == 0);
    BOOST_TEST(read("copy").empty());
}

BOOST_AUTO_TEST_CASE(files_follow_each_other_and_a_dash_is_standard_input) {
    write("one", "1\n2");
    write("two", "3\n");
    BOOST_TEST(run("printf 'in\\n' | $W $Q one - two & $R $Q > copy && wait $!") == 0);
    BOOST_TEST(read("copy") == "1\n2in\n3\n");
}

BOOST_AUTO_TEST_CASE(a_gibibyte_passes_byte_for_byte_in_constant_memory) {
    // Sanitizers reserve terabytes of addresses.
    const std::string bound = test::sanitized ? "" : "ulimit -v 100000; ";
    BOOST_TEST(run("all() { yes 'a line of text, neither short nor long, to fill a gibibyte' | "
                   "head -c 1073741824; }; mkfifo copy; all | cmp - copy & same=$!; (" +
                   bound + "all | $W $Q) & writer=$!; (" + bound +
                   "$R $Q > copy) && wait $writer && wait $same") == 0);
}

BOOST_AUTO_TEST_CASE(records_with_a_length_pass_as_they_are) {
    const std::string records("\1\0\0\0x\0\0\0\0\3\0\0\0a\nb", 16);
    write("file", records);
    BOOST_TEST(run("$W --frame u32 $Q file & $R --frame u32 $Q > copy && wait $!") == 0);
    BOOST_TEST((read("copy") == records));
    write("cut", records.substr(0, 15));
    BOOST_TEST(run("$R --frame u32 $Q > copy & $W --frame u32 $Q cut 2> said; code=$?; wait $!; "
                   "exit $code") == 1);
    BOOST_TEST(has(read("said"), "the input ends within record 3"));
}

BOOST_AUTO_TEST_CASE(programs_take_part_with_a_queue_of_strings) {
    const auto q = queue<std::string>::create(queue_name());
    q.put("from a program\n");
    q.put("without a newline");
    q.close();
    BOOST_TEST(run("$R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "from a program\nwithout a newline");

    const pid_t writer = start("printf 'one\\ntwo' | $W --keep $Q");
    const auto lines = open();
    BOOST_TEST(lines.get() == "one\n");
    BOOST_TEST(lines.get() == "two");
    BOOST_CHECK_THROW((void)lines.get(), bulkhead::queue_closed);
    BOOST_TEST(test::ended(writer) == 0);
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_line_is_seen_as_soon_as_it_is_written) {
    BOOST_TEST(run("mkfifo in out; $W $Q < in & $R $Q > out & exec 3> in 4< out; "
                   "for i in 1 2 3; do echo line $i >&3; read line <&4; echo $line >> copy; done; "
                   "exec 3>&-; wait") == 0);
    BOOST_TEST(read("copy") == "line 1\nline 2\nline 3\n");
}

BOOST_AUTO_TEST_CASE(several_writers_and_readers_share_a_queue_and_nothing_is_lost_or_doubled) {
    // One writer spans the others, so that it is one stream however quick they are.
    BOOST_TEST(run("mkfifo in; $R --keep $Q > out1 & $R --keep $Q > out2 & $W $Q < in & "
                   "exec 3> in; echo 0 >&3; until grep -qs 0 out1 out2; do sleep .01; done; "
                   "for i in 1 2 3; do seq ${i}000000 ${i}020000 > in$i; done; "
                   "$W $Q in1 & a=$!; $W $Q in2 & b=$!; $W $Q in3 && wait $a $b; "
                   "exec 3>&-; wait; echo 0 > in0; "
                   "sort -n out1 out2 > copy; cat in0 in1 in2 in3 | cmp - copy") == 0);
    BOOST_TEST(open().closed());
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_count_ends_either_side_and_the_rest_stays) {
    BOOST_TEST(run("seq 10 | $W -n 4 $Q && $R -n 3 $Q > copy") == 0);
    BOOST_TEST(read("copy") == "1\n2\n3\n");
    BOOST_TEST(run("$R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "4\n");
}

BOOST_AUTO_TEST_CASE(keep_on_either_side_keeps_the_queue) {
    BOOST_TEST(run("echo x | $W $Q && $R --keep $Q > copy") == 0);
    BOOST_TEST(test::own_names() == 1U);
    // A new stream replaces it.
    BOOST_TEST(run("echo y | $W --keep $Q && $R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "y\n");
    BOOST_TEST(test::own_names() == 1U);
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_stream_that_nobody_has_read_yet_goes_on_with_the_next_writer) {
    BOOST_TEST(run("echo first | $W $Q && echo second | $W $Q && $R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "first\nsecond\n");
    // What a program has closed, too; and the capacity is the bound.
    const auto q = queue<std::string>::create(queue_name());
    q.put("from a program\n");
    q.close();
    BOOST_TEST(run("echo third | $W $Q && $R $Q > copy") == 0);
    BOOST_TEST(read("copy") == "from a program\nthird\n");
    BOOST_TEST(q.closed());
}

BOOST_AUTO_TEST_CASE(a_stream_that_has_been_read_is_another_than_the_next) {
    BOOST_TEST(run("echo first | $W $Q; $R $Q > one; echo second | $W $Q; $R $Q > two") == 0);
    BOOST_TEST(read("one") == "first\n");
    BOOST_TEST(read("two") == "second\n");
}

BOOST_AUTO_TEST_CASE(writers_that_are_through_before_others_begin_share_a_stream_with_them) {
    const std::string inputs = "for i in 1 2 3; do seq ${i}000 ${i}100 > in$i; done; ";
    const std::string same = "sort -n > copy; wait; cat in1 in2 in3 | cmp - copy";
    // Nobody has read yet; or somebody has read all there was, and another writer is at it.
    BOOST_TEST(run(inputs + "for i in 1 2 3; do $W $Q in$i; done; $R $Q | " + same) == 0);
    BOOST_TEST(test::own_names() == 0U);
    BOOST_TEST(run(inputs +
                   "rm -f fifo; mkfifo fifo; exec 3<> fifo; $W $Q < fifo 3>&- & "
                   "echo 0 >&3; "
                   "(until [ -s first ]; do sleep 0.01; done; "
                   "for i in 1 2 3; do $W $Q in$i; done) 3>&- & quick=$!; "
                   "($R $Q | tee first > all) 3>&- & wait $quick; exec 3>&-; wait; "
                   "grep -vx 0 all | " +
                   same) == 0);
    BOOST_TEST(test::own_names() == 0U);
}

BOOST_AUTO_TEST_CASE(
    a_writer_that_fails_or_is_stopped_makes_its_reader_say_that_something_is_missing) {
    BOOST_TEST(run("echo line > in; $R $Q > copy 2> said & $W $Q in none 2> /dev/null; wait $!") ==
               1);
    BOOST_TEST(read("copy") == "line\n");
    BOOST_TEST(has(read("said"), "1 of 1 writers"));
    for (const int signal : {SIGTERM, SIGINT}) {
        for (const bool follows : {false, true}) {
            BOOST_TEST_CONTEXT("signal " << signal << ", --follow " << follows) {
                const std::string input = follows ? "exec $W --follow $Q in" : "exec $W $Q <&3";
                write("copy", "");
                const pid_t writer =
                    start("rm -f fifo; mkfifo fifo; exec 3<> fifo; echo line >&3; " + input);
                const pid_t reader = start("exec $R $Q > copy 2> said");
                test::until([&] { return read("copy") == "line\n"; });
                ::kill(writer, signal);
                BOOST_TEST(test::ended(writer) == 128 + signal);
                // One that follows its input has no other end.
                BOOST_TEST(test::ended(reader) == (follows ? 0 : 1));
                BOOST_TEST(has(read("said"), "1 of 1 writers") == !follows);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_record_larger_than_the_queue_is_a_clear_error) {
    BOOST_TEST(run("(echo good; head -c 2000 /dev/zero) | $W --capacity 1K $Q 2> said") == 1);
    BOOST_TEST(has(read("said"), "record 2 has"));
    BOOST_TEST(has(read("said"), "1024 bytes"));
    BOOST_TEST(has(read("said"), "--capacity"));
    BOOST_TEST(run("$R $Q > copy 2> said") == 1);  // which says so
    BOOST_TEST(read("copy") == "good\n");
    BOOST_TEST(run("head -c 1024 /dev/zero | $W --capacity 1K $Q && $R $Q | wc -c > copy") == 0);
    BOOST_TEST(read("copy") == "1024\n");
}

BOOST_AUTO_TEST_CASE(wrong_usage_ends_with_2_and_a_sentence) {
    const auto wrong = [&](const std::string& command, const std::string& sentence) {
        const int code = run(command + " < /dev/null > out 2> said");
        return code == 2 && read("out").empty() && has(read("said"), sentence);
    };
    BOOST_TEST(wrong("$W", "which queue?"));
    BOOST_TEST(wrong("$R", "which queue?"));
    BOOST_TEST(wrong("$R one two", "'two'"));
    BOOST_TEST(wrong("$R --wrong q", "--wrong"));
    BOOST_TEST(wrong("$W --frame xml q", "lines, nul, u32 or json"));
    BOOST_TEST(wrong("$W --capacity 0 q", "--capacity"));
    BOOST_TEST(wrong("$W --capacity 1T q", "--capacity"));
    BOOST_TEST(wrong("$W --capacity 1.5M q", "not '1.5M'"));
    BOOST_TEST(wrong("$R -n 99999999999999999999999 q", "out of range"));
    BOOST_TEST(wrong("$W --timeout soon q", "--timeout"));
    BOOST_TEST(wrong("$W --timeout nan q", "--timeout"));
    BOOST_TEST(wrong("$R -n -1 q", "-n"));
    BOOST_TEST(wrong("$W a/b", "must not hold a '/'"));
    BOOST_TEST(wrong("$R ''", "must not be empty"));
}

BOOST_AUTO_TEST_CASE(help_and_version_go_to_standard_output) {
    for (const std::string tool : {"$W", "$R"}) {
        BOOST_TEST(run(tool + " --help > out 2> said") == 0);
        BOOST_TEST(has(read("out"), "Usage: bulkhead-"));
        BOOST_TEST(has(read("out"), "--capacity"));
        BOOST_TEST(run(tool + " --version > out 2> said") == 0);
        BOOST_TEST(has(read("out"), "bulkhead-"));
        BOOST_TEST(read("said").empty());
    }
}

BOOST_AUTO_TEST_CASE(failures_end_with_1_and_a_sentence) {
    BOOST_TEST(run("$W $Q /no/such/file 2> said") == 1);
    BOOST_TEST(has(read("said"), "/no/such/file: No such file"));
    BOOST_TEST(run("$R $Q 2> heard; $W $Q . 2> said") == 1);
    BOOST_TEST(has(read("said"), "directory"));
    BOOST_TEST(run("$R $Q 2> heard; $R --timeout 0.05 $Q 2> said") == 1);
    BOOST_TEST(has(read("said"), "waited 50 ms for a message"));
    remove_queue();
    BOOST_TEST(run("seq 1000 | $W --capacity 100 --timeout .05 $Q 2> said") == 1);
    BOOST_TEST(has(read("said"), "waited 50 ms for room"));
    BOOST_TEST(run("$R $Q > /dev/full 2> said") == 1);
    BOOST_TEST(read("said") ==
               "bulkhead-reader: cannot write to standard output: No space left on device\n");
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_signal_ends_either_side_with_its_number_and_leaves_the_queue_usable) {
    for (const int signal : {SIGINT, SIGTERM}) {
        const pid_t reader = start("exec $R $Q > copy");
        const auto q = open();
        q.put("got\n");
        test::until([&] { return read("copy") == "got\n"; });
        ::kill(reader, signal);
        BOOST_TEST(test::ended(reader) == 128 + signal);

        const pid_t writer = start("mkfifo -m 600 in" + std::to_string(signal) + "; exec 3<> in" +
                                   std::to_string(signal) + "; echo line >&3; exec $W $Q <&3");
        BOOST_TEST(q.get() == "line\n");
        ::kill(writer, signal);
        BOOST_TEST(test::ended(writer) == 128 + signal);
        BOOST_CHECK_THROW((void)q.get(), bulkhead::queue_closed);
        remove_queue();
    }
}

BOOST_AUTO_TEST_CASE(a_reader_whose_output_is_closed_ends_quietly_by_sigpipe) {
    BOOST_TEST(run("seq 100000 | $W $Q & ($R $Q 2> said; echo $? > code) | head -n 1 > copy; "
                   "$R $Q > /dev/null; wait $!") == 0);
    BOOST_TEST(read("copy") == "1\n");
    BOOST_TEST(read("code") == "141\n");
    BOOST_TEST(read("said").empty());
}

BOOST_AUTO_TEST_CASE(the_death_of_a_writer_ends_the_stream_and_the_reader_says_so) {
    const pid_t writer = start("mkfifo in; exec 3<> in; echo line >&3; exec $W $Q <&3");
    const pid_t reader = start("exec $R $Q > copy 2> said");
    test::until([&] { return read("copy") == "line\n"; });
    test::killed(writer);
    BOOST_TEST(test::ended(reader) == 1);
    BOOST_TEST(has(read("said"), "1 of 1 writers"));
}

BOOST_AUTO_TEST_CASE(of_killed_writers_and_readers_the_rest_finishes) {
    test::random_numbers random;
    BOOST_TEST_CONTEXT("BULKHEAD_TEST_SEED=" << random.seed()) {
        write("lines", [] {
            std::string lines;
            for (int i = 0; i != 20'000; ++i) lines += std::to_string(i) + "\n";
            return lines;
        }());
        for (int round = 0; round != 15; ++round) {
            // These two span the others, so that it is one stream.
            const pid_t writer = start(
                "(cat lines; until [ -e go ]; do sleep .01; done; cat lines) | "
                "$W --capacity 4K $Q");
            const pid_t reader = start("exec $R $Q > copy 2> said");
            test::until([&] { return !read("copy").empty(); });
            const pid_t killed_writer = start("exec $W --capacity 4K $Q lines");
            const pid_t killed_reader = start("exec $R $Q > /dev/null");
            ::usleep(random(20'000));
            test::killed(killed_writer);
            test::killed(killed_reader);
            write("go", "");
            BOOST_TEST(test::ended(writer) == 0);
            // 1 if the killed writer had begun and not ended.
            const int code = test::ended(reader);
            BOOST_TEST((code == 0 || (code == 1 && has(read("said"), "1 of 2 writers"))));
            BOOST_TEST(test::own_names() == 0U);
            BOOST_TEST(run("rm -f go copy") == 0);
        }
    }
}

BOOST_AUTO_TEST_CASE(progress_goes_to_stderr_when_asked_for) {
    BOOST_TEST(run("seq 1000 | $W --progress $Q 2> said && $R --progress $Q 2> heard > copy") == 0);
    BOOST_TEST(has(read("said"), "bulkhead-writer: 1000 messages"));
    BOOST_TEST(has(read("heard"), "bulkhead-reader: 1000 messages"));
    BOOST_TEST(run("seq 10 | $W $Q 2> said && $R $Q 2> heard > copy") == 0);
    BOOST_TEST(read("said").empty());
    BOOST_TEST(read("heard").empty());
}

BOOST_AUTO_TEST_CASE(a_closed_standard_stream_is_an_error_and_harms_no_queue) {
    BOOST_TEST(run("$W $Q - <&- 2> err") == 1);
    BOOST_TEST(read("err").find("Bad file descriptor") != std::string::npos, read("err"));
    BOOST_TEST(run("$R $Q 2> heard") == 1);
    BOOST_TEST(run("seq 3000 > file; $W $Q file") == 0);
    BOOST_TEST(run("$R --keep $Q >&- 2> err") == 1);
    BOOST_TEST(read("err").find("Bad file descriptor") != std::string::npos, read("err"));
    BOOST_TEST(run("$R --keep --count 1 --progress $Q > copy 2>&-") == 0);
    BOOST_TEST(run("$R $Q >> copy && cmp file copy") == 0);
}

BOOST_AUTO_TEST_CASE(a_limit_of_file_sizes_is_told_and_kills_nothing) {
    BOOST_TEST(run("ulimit -f 16; echo one | $W --capacity 1000000 $Q 2> err") == 1);
    BOOST_TEST(read("err").find("ulimit -f") != std::string::npos, read("err"));
}

BOOST_AUTO_TEST_SUITE_END()
