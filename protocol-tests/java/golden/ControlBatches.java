package golden;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Random;
import org.apache.kafka.common.message.KRaftVersionRecord;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.message.SnapshotFooterRecord;
import org.apache.kafka.common.message.SnapshotHeaderRecord;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;

/** Batches that brokers write for readers: the ends of transactions, and what the metadata log holds besides. */
final class ControlBatches {
    private final Random random;
    private final long offset;

    ControlBatches(Random random, long offset) {
        this.random = random;
        this.offset = offset;
    }

    /** The end of a transaction, good or bad. */
    byte[] endOfTransaction() {
        ControlRecordType type = random.nextBoolean() ? ControlRecordType.COMMIT : ControlRecordType.ABORT;
        EndTransactionMarker marker = new EndTransactionMarker(type, random.nextInt(1 << 20));
        return bytes(MemoryRecords.withEndTransactionMarker(offset, timestamp(), random.nextInt(100),
            random.nextLong() >>> 1, (short) random.nextInt(1 << 15), marker));
    }

    /** Change of leader, begin or end of a snapshot, version of the quorum. */
    byte[] ofTheQuorum() {
        int epoch = random.nextInt(100);
        ByteBuffer buffer = ByteBuffer.allocate(256);
        return bytes(switch (random.nextInt(4)) {
            case 0 -> MemoryRecords.withLeaderChangeMessage(offset, timestamp(), epoch, buffer,
                new LeaderChangeMessage()
                    .setLeaderId(random.nextInt(10))
                    .setVoters(List.of(voter(1), voter(2))));
            case 1 -> MemoryRecords.withSnapshotHeaderRecord(offset, timestamp(), epoch, buffer,
                new SnapshotHeaderRecord().setLastContainedLogTimestamp(timestamp()));
            case 2 -> MemoryRecords.withSnapshotFooterRecord(offset, timestamp(), epoch, buffer,
                new SnapshotFooterRecord());
            default -> MemoryRecords.withKRaftVersionRecord(offset, timestamp(), epoch, buffer,
                new KRaftVersionRecord().setKRaftVersion((short) 1));
        });
    }

    private static LeaderChangeMessage.Voter voter(int id) {
        return new LeaderChangeMessage.Voter().setVoterId(id);
    }

    private long timestamp() {
        return 1_700_000_000_000L + random.nextInt(1 << 30);
    }

    private static byte[] bytes(MemoryRecords records) {
        byte[] bytes = new byte[records.sizeInBytes()];
        records.buffer().duplicate().get(bytes);
        return bytes;
    }
}
