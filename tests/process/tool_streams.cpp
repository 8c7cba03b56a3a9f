// Streams of bulkhead-writer and bulkhead-reader beyond a plain copy: JSON, --follow, --boost, signals.
#include "support/workplace.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <string>
#include <vector>

namespace {

class stream_place : public test::workplace {
public:
    /// As start(), with S, the program that has stock queues.
    [[nodiscard]] pid_t begin(const std::string& script) const {
        return start("S='" BULKHEAD_TEST_PROGRAMS "/stock_queue_owner'; " + script);
    }
    [[nodiscard]] int run(const std::string& script) const { return test::ended(begin(script)); }
    [[nodiscard]] bool said(const std::string& part) const {
        const std::string text = read("said");
        BOOST_TEST_MESSAGE(text);
        return text.find(part) != std::string::npos;
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tool_streams, stream_place)

BOOST_AUTO_TEST_CASE(a_reader_tells_in_json_what_it_got_and_when) {
    write("file", "one\n\xff\xfe\nlast");
    BOOST_TEST(run("$W $Q file & $R --json $Q > out && wait $!; "
                   "sed -E 's/20[0-9-]+T[0-9:]+\\.[0-9]{3}Z/NOW/; s/'$Q'/Q/' out > plain") == 0);
    BOOST_TEST(
        read("plain") ==
        "{\"queue\":\"Q\",\"number\":1,\"received\":\"NOW\",\"bytes\":4,\"data\":\"one\\n\"}\n"
        "{\"queue\":\"Q\",\"number\":2,\"received\":\"NOW\",\"bytes\":3,"
        "\"data_base64\":\"//4K\"}\n"
        "{\"queue\":\"Q\",\"number\":3,\"received\":\"NOW\",\"bytes\":4,\"data\":\"last\"}\n");
}

BOOST_AUTO_TEST_CASE(what_a_reader_tells_in_json_a_writer_makes_messages_of_again) {
    BOOST_TEST(run("(head -c 300000 /dev/urandom; printf '\\0\\n\\n\"\\\\\\n'; seq 5000) > file; "
                   "$W $Q file & $R --json $Q | $W --json $Q-2 & $R $Q-2 | cmp - file") == 0);
}

BOOST_AUTO_TEST_CASE(json_that_is_no_message_is_a_clear_error_and_what_came_before_is_put) {
    const std::vector<std::pair<std::string, std::string>> wrong = {
        {"{", "incomplete"},
        {"7", "not an object"},
        {R"({"other":"x"})", "\"data\" or \"data_base64\""},
        {R"({"data":"x","data_base64":"eA=="})", "not both"},
        {R"({"data":7})", "not a string"},
        {R"({"data_base64":"e"})", "not base64"},
        {R"({"data_base64":"e=A="})", "not base64"}};
    for (const auto& [line, sentence] : wrong) {
        BOOST_TEST_CONTEXT(line) {
            write("file", "{\"data\":\"good\\n\",\"more\":[1,{}]}\n" + line + "\n");
            BOOST_TEST(run("$W --json $Q file 2> said") == 1);
            BOOST_TEST(said("record 2 is no message in JSON"));
            BOOST_TEST(said(sentence));
            BOOST_TEST(run("$R $Q > copy 2> heard") == 1);
            BOOST_TEST(read("copy") == "good\n");
        }
    }
    // The line behind a bad one is not its rest.
    write("file", "{\"data\":\"good\\n\"}\n{\n\"data\":\"merged\"}\n");
    BOOST_TEST(run("$W --json $Q file 2> said") == 1);
    BOOST_TEST(said("record 2 is no message"));
    BOOST_TEST(run("$R $Q > copy 2> heard") == 1);
    BOOST_TEST(read("copy") == "good\n");
    write("file", R"({"data":"0123456789"})");
    BOOST_TEST(run("$W --json --capacity 9 $Q file 2> said") == 1);
    BOOST_TEST(said("record 1 has 10 bytes, more than the 9 bytes of the queue"));
    BOOST_TEST(run("$R $Q 2> heard") == 1);
    BOOST_TEST(run("$R --json --frame nul $Q 2> said") == 2);
    BOOST_TEST(said("contradict"));
}

BOOST_AUTO_TEST_CASE(a_following_reader_goes_on_with_the_next_stream) {
    const pid_t reader = start("exec $R --follow -n 5 $Q > copy 2> said");
    BOOST_TEST(run("printf '1\\n2' | $W $Q") == 0);
    test::until([&] { return read("copy") == "1\n2"; });
    // A crashed writer ends its stream too, and is told.
    const pid_t killed = start("mkfifo in; exec 3<> in; echo 3 >&3; exec $W $Q <&3");
    test::until([&] { return read("copy") == "1\n23\n"; });
    test::killed(killed);
    test::until([&] { return said("1 of 1 writers"); });
    // A queue that is kept stands there, drained, until the next writer.
    BOOST_TEST(run("echo 4 | $W --keep $Q") == 0);
    test::until([&] { return read("copy") == "1\n23\n4\n"; });
    BOOST_TEST(run("echo 5 | $W $Q") == 0);
    BOOST_TEST(test::ended(reader) == 0);
    BOOST_TEST(read("copy") == "1\n23\n4\n5\n");
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_following_reader_whose_queue_has_lost_its_name_finds_the_next) {
    const pid_t reader = start("exec $R --follow -n 2 $Q > copy");
    BOOST_TEST(run("echo 1 | $W $Q") == 0);
    test::until([&] { return read("copy") == "1\n"; });
    (void)open();  // it is there again
    remove_queue();
    BOOST_TEST(run("echo 2 | $W $Q") == 0);
    BOOST_TEST(test::ended(reader) == 0);
    BOOST_TEST(read("copy") == "1\n2\n");
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_following_reader_ends_by_its_timeout_or_a_signal) {
    BOOST_TEST(run("echo 1 | $W --keep $Q; $R --follow --timeout 0.05 $Q > copy 2> said") == 1);
    BOOST_TEST(read("copy") == "1\n");
    BOOST_TEST(said("waited 50 ms for another stream in queue"));
    const pid_t reader = start("exec $R --follow $Q > copy");
    BOOST_TEST(run("echo 2 | $W $Q") == 0);
    test::until([&] { return read("copy") == "2\n"; });
    ::kill(reader, SIGINT);
    BOOST_TEST(test::ended(reader) == 128 + SIGINT);
    remove_queue();
}

BOOST_AUTO_TEST_CASE(a_following_writer_waits_for_its_file_to_grow) {
    write("first", "0\n");
    write("log", "1\n2");
    const pid_t writer = start("exec $W --follow $Q first log 2> said");
    const pid_t reader = start("exec $R $Q > copy");
    test::until([&] { return read("copy") == "0\n1\n"; });  // half a line is none
    BOOST_TEST(run("printf '2\\n3\\n' >> log") == 0);
    test::until([&] { return read("copy") == "0\n1\n22\n3\n"; });
    // A half line before a cut and the first line behind it are two.
    BOOST_TEST(run("printf 'half of a line' >> log; sleep .2; echo 4 > log") == 0);
    test::until([&] { return read("copy") == "0\n1\n22\n3\nhalf of a line4\n"; });
    BOOST_TEST(said("log has been cut"));
    ::kill(writer, SIGTERM);
    BOOST_TEST(test::ended(writer) == 128 + SIGTERM);
    BOOST_TEST(test::ended(reader) == 0);
}

BOOST_AUTO_TEST_CASE(messages_taken_when_a_signal_comes_are_still_printed) {
    // The reader is in the middle of more than a pipe takes when somebody begins to read and it is told to
    // end. The stream goes on until then: else a quick reader has ended before.
    BOOST_TEST(
        run("mkfifo out; (seq 100000; until [ -e go ]; do sleep .01; done; seq 100001 100010) | "
            "$W $Q & ($R $Q > out & echo $! > pid; wait $!; "
            "echo $? > code) & exec 3< out; "
            "until [ -s pid ]; do sleep .01; done; read first <&3; echo $first > one; "
            "cat <&3 >> one & kill -TERM $(cat pid); wait $!; exec 3<&-; "
            "until [ -s code ]; do sleep .01; done; touch go; $R $Q > two; "
            "cat one two > copy; seq 100010 | cmp - copy && grep -qx 143 code") == 0);
}

BOOST_AUTO_TEST_CASE(a_stock_message_queue_is_written_and_read) {
    BOOST_TEST(run("$S make $Q && seq 1000 > file; $W --boost $Q file & "
                   "$R --boost -n 1000 $Q > copy && wait $! && cmp copy file") == 0);
    BOOST_TEST(run("$R --boost --timeout 0.05 $Q 2> said") == 1);
    BOOST_TEST(said("waited 50 ms for a message"));
    BOOST_TEST(run("$S fill $Q; seq 3 | $W --boost --timeout 0.05 $Q 2> said") == 1);
    BOOST_TEST(said("waited 50 ms for room"));
    BOOST_TEST(run("head -c 65 /dev/zero | $W --boost $Q 2> said") == 1);
    BOOST_TEST(said("64 bytes of the queue; whoever makes it"));
    const pid_t reader = begin("exec $R --boost $Q > copy");
    test::until([&] { return read("copy").size() == 16; });
    ::kill(reader, SIGINT);
    BOOST_TEST(test::ended(reader) == 128 + SIGINT);
    BOOST_TEST(run("$S drop $Q; $R --boost $Q 2> said") == 1);
    BOOST_TEST(said("cannot be opened"));
    // What is left of a maker that was killed.
    for (const char* remains : {"true", "head -c 4096 /dev/zero"}) {
        BOOST_TEST(run(std::string("{ ") + remains + "; } > /dev/shm/$Q; $R --boost $Q 2> said") ==
                   1);
        BOOST_TEST(said("never finished by its maker"));
        BOOST_TEST(run("$R --boost --timeout 0.05 $Q 2> said; echo x | $W --boost $Q") == 1);
        BOOST_TEST(said("waited 50 ms for the maker"));
        BOOST_TEST(run("rm /dev/shm/$Q") == 0);
    }
    BOOST_TEST(run("$W --boost --capacity 1M $Q 2> said") == 2);
    BOOST_TEST(said("--capacity is not for --boost"));
}

BOOST_AUTO_TEST_CASE(a_stock_message_queue_in_which_a_process_died_is_told_and_hangs_nobody) {
    BOOST_TEST(
        run("$S make $Q; ulimit -c 0; { $S kill $Q; } 2> /dev/null; $R --boost $Q 2> said") == 1);
    BOOST_TEST(said("a process has died inside it"));
    BOOST_TEST(run("echo x | $W --boost $Q 2> said") == 1);
    BOOST_TEST(said("a process has died inside it"));
    BOOST_TEST(run("$S drop $Q") == 0);
}

BOOST_AUTO_TEST_SUITE_END()
