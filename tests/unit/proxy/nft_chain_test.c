/* Chain names and element bytes go both ways. */
#include <CUnit/CUnit.h>

#include "common/str.h"
#include "proxy/nft_batch.h"

static void names(void)
{
    static const char *const good[] = {"c1", "e12", "x3", "p3_10800", "l4000_1"};
    static const char *const bad[] = {
        "c", "c0", "q3", "c3x", "refuse", "check", "c03", "translate", "", "c3_"};
    char again[NFT_CHAIN_NAME_BYTES];
    struct rule_chain chain;

    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        CU_ASSERT_FATAL(nft_chain_parse(good[i], &chain));
        nft_chain_name(&chain, again);
        CU_ASSERT_STRING_EQUAL(again, good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        CU_ASSERT(!nft_chain_parse(bad[i], &chain));
}

static void keys(void)
{
    uint8_t bytes[NFT_KEY_BYTES_MAX];

    for (int map = 0; map < MAP_COUNT; map++) {
        struct rule_key key = {.map = (uint8_t)map,
            .addr = 0x0a600009,
            .protocol = 17,
            .port = 53,
            .index = 7,
            .peer = 0x0a010203,
            .peer_port = 8080};
        struct rule_key back;
        uint32_t n = nft_key_bytes(&key, bytes);
        CU_ASSERT_FATAL(nft_key_parse((enum rule_map)map, bytes, n, &back));
        uint8_t again[NFT_KEY_BYTES_MAX];
        CU_ASSERT_EQUAL(nft_key_bytes(&back, again), n);
        CU_ASSERT_EQUAL(memcmp(bytes, again, n), 0);
        CU_ASSERT(!nft_key_parse((enum rule_map)map, bytes, n - 1, &back));
    }
}

const CU_TestInfo nft_chain_tests[] = {
    {"chain names", names},
    {"element keys", keys},
    CU_TEST_INFO_NULL,
};
